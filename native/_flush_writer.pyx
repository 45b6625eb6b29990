# cython: boundscheck=False, wraparound=False
"""Fast twin of target/store/flush_writer_pure.py, which defines it: the thread never takes the
interpreter's lock, so nobody who runs Python keeps a flush waiting.

What passes between the threads does so under `mutex`, under which nothing of Python runs.
"""

from threading import Thread

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from posix.types cimport off_t

from replicast.native._file_io cimport write_and_sync
from replicast.native._reassembly cimport (
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_cond_t:
        pass
    int pthread_cond_init(pthread_cond_t *, void *)
    int pthread_cond_destroy(pthread_cond_t *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t write(int fd, const void *data, size_t size)

cdef enum State:
    FREE
    GIVEN  # the thread's
    ENDED  # to be taken back


cdef class FlushWriter:
    """See replicast.target.store.flush_writer_pure.FlushWriter, the definition, for every method."""

    cdef pthread_mutex_t mutex
    cdef pthread_cond_t given
    cdef State state
    cdef bint stopping
    cdef int notify_fd, fd, error
    cdef off_t offset
    cdef const char *bytes_at
    cdef Py_ssize_t size
    cdef bytes data  # kept until taken back
    cdef object thread

    def __cinit__(self, int notify_fd):
        pthread_mutex_init(&self.mutex, NULL)
        pthread_cond_init(&self.given, NULL)
        self.state = FREE
        self.notify_fd = notify_fd
        self.thread = Thread(target=self._run, name="vdev-write", daemon=True)

    def __init__(self, notify_fd):
        self.thread.start()

    def __dealloc__(self):
        # The running thread keeps this object alive: it has ended, or never began.
        pthread_cond_destroy(&self.given)
        pthread_mutex_destroy(&self.mutex)

    def submit(self, int fd, off_t offset, bytes data not None):
        if self.thread is None or self.data is not None:
            raise RuntimeError("stopped, or busy")
        self.data = data
        pthread_mutex_lock(&self.mutex)
        self.fd, self.offset = fd, offset
        self.bytes_at, self.size = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        self.state = GIVEN
        pthread_cond_signal(&self.given)
        pthread_mutex_unlock(&self.mutex)

    def take(self):
        cdef bint ended
        pthread_mutex_lock(&self.mutex)
        ended = self.state == ENDED
        if ended:
            self.state = FREE
        pthread_mutex_unlock(&self.mutex)
        if not ended:
            return None
        self.data = None
        return self.error

    def stop(self):
        thread, self.thread = self.thread, None
        if thread is None:
            return
        pthread_mutex_lock(&self.mutex)
        self.stopping = True
        pthread_cond_signal(&self.given)
        pthread_mutex_unlock(&self.mutex)
        thread.join()

    def _run(self):
        with nogil:
            self.serve()

    cdef void serve(self) noexcept nogil:
        cdef uint64_t one = 1
        pthread_mutex_lock(&self.mutex)
        while True:
            while self.state != GIVEN and not self.stopping:
                pthread_cond_wait(&self.given, &self.mutex)
            if self.state != GIVEN:
                break
            pthread_mutex_unlock(&self.mutex)
            self.error = write_and_sync(self.fd, self.offset, self.bytes_at, self.size)
            pthread_mutex_lock(&self.mutex)
            self.state = ENDED
            pthread_mutex_unlock(&self.mutex)
            write(self.notify_fd, &one, sizeof(one))
            pthread_mutex_lock(&self.mutex)
        pthread_mutex_unlock(&self.mutex)
