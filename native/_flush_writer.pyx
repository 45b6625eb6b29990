# cython: boundscheck=False, wraparound=False
"""Fast twin of target/store/flush_writer_pure.py, which defines it: the thread never takes the
interpreter's lock, so nobody who runs Python keeps a flush waiting.

What passes between the threads does so under `mutex`, under which nothing of Python runs, and which
nobody holds who wakes the other: `given` is posted for each flush, and once more to end the thread.
"""

from threading import Thread

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from posix.types cimport off_t

from replicast.native._file_io cimport Pieces, write_and_sync, write_pieces_and_sync
from replicast.native._reassembly cimport (
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)
from replicast.native._udp cimport iovec

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t *, int shared, unsigned int value)
    int sem_destroy(sem_t *)
    int sem_wait(sem_t *)
    int sem_post(sem_t *)

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t write(int fd, const void *data, size_t size)

cdef enum State:
    FREE
    GIVEN  # the thread's
    ENDED  # to be taken back


cdef class FlushWriter:
    """See replicast.target.store.flush_writer_pure.FlushWriter, the definition, for every method."""

    cdef pthread_mutex_t mutex
    cdef sem_t given
    cdef State state
    cdef int notify_fd, fd, direct_fd, error
    cdef off_t offset
    cdef const char *bytes_at
    cdef iovec *vectors  # in place of bytes_at, if set
    cdef Py_ssize_t size
    cdef object data  # kept until taken back
    cdef object thread

    def __cinit__(self, int notify_fd):
        pthread_mutex_init(&self.mutex, NULL)
        sem_init(&self.given, 0, 0)
        self.state = FREE
        self.notify_fd = notify_fd
        self.thread = Thread(target=self._run, name="vdev-write", daemon=True)

    def __init__(self, notify_fd):
        self.thread.start()

    def __dealloc__(self):
        # The running thread keeps this object alive: it has ended, or never began.
        sem_destroy(&self.given)
        pthread_mutex_destroy(&self.mutex)

    def submit(self, int fd, off_t offset, bytes data not None):
        if self.thread is None or self.data is not None:
            raise RuntimeError("stopped, or busy")
        self.data = data
        pthread_mutex_lock(&self.mutex)
        self.fd, self.offset, self.vectors = fd, offset, NULL
        self.bytes_at, self.size = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        self.state = GIVEN
        pthread_mutex_unlock(&self.mutex)
        sem_post(&self.given)

    def submit_pieces(self, int fd, int direct_fd, off_t offset, list pieces not None):
        cdef Pieces pinned
        if self.thread is None or self.data is not None:
            raise RuntimeError("stopped, or busy")
        self.data = pinned = Pieces(pieces)
        pthread_mutex_lock(&self.mutex)
        self.fd, self.direct_fd, self.offset = fd, direct_fd, offset
        self.vectors, self.size = pinned.vectors, pinned.count
        self.state = GIVEN
        pthread_mutex_unlock(&self.mutex)
        sem_post(&self.given)

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
        sem_post(&self.given)
        thread.join()

    def _run(self):
        with nogil:
            self.serve()

    cdef void serve(self) noexcept nogil:
        cdef uint64_t one = 1
        cdef bint given
        while True:
            while sem_wait(&self.given) != 0:  # a signal came
                pass
            pthread_mutex_lock(&self.mutex)
            given = self.state == GIVEN
            pthread_mutex_unlock(&self.mutex)
            if not given:
                break
            if self.vectors != NULL:
                self.error = write_pieces_and_sync(
                    self.fd, self.direct_fd, self.offset, self.vectors, self.size
                )
            else:
                self.error = write_and_sync(self.fd, self.offset, self.bytes_at, self.size)
            pthread_mutex_lock(&self.mutex)
            self.state = ENDED
            pthread_mutex_unlock(&self.mutex)
            write(self.notify_fd, &one, sizeof(one))
