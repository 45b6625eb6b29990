/* BLAKE3 (32 bytes) of one message that comes in pieces of any size: rc_blake3_init, or rc_blake3_init_keyed
   with a key of 32 bytes, then rc_blake3_update for each, then rc_blake3_final, which leaves the state as it
   is, or rc_blake3_end, which does not and saves a copy of it. None of them allocates, fails or needs the
   interpreter; one state is for one thread at a time.

   Whole chunks of 1024 bytes are hashed where they lie, as many in step as there are lanes. Long pieces are
   fastest where they begin at a multiple of that, and are many times what the lanes take (16 KiB).

   The tree over the chunks (section 2.1 of the paper): CVs are kept until there is a subtree of 128 of them,
   so that parents, too, fill the lanes. Whatever may be the root is left until it is known that more comes:
   the first chunk, and each subtree. */

#ifndef BLAKE3_H
#define BLAKE3_H

#include "_blake3_lanes.h"

enum {
    RC_BLAKE3_SUBTREE_CHUNKS = 128,
    /* A message has less than 2^64 bytes: no more than 2^47 subtrees, which are merged as bits carry. */
    RC_BLAKE3_DEPTH_MAX = 48
};

typedef struct {
    /* Of the last chunks, and room for those of the step that goes beyond a subtree. */
    blake3_cv cvs[RC_BLAKE3_SUBTREE_CHUNKS + BLAKE3_LANES_MAX];
    blake3_cv subtrees[RC_BLAKE3_DEPTH_MAX]; /* whose sizes are the bits of how many there were */
    uint8_t rest[BLAKE3_CHUNK_BYTES]; /* behind all chunks with a CV; full: more must come for that */
    uint64_t chunk_count; /* with a CV */
    uint32_t key[8], mode; /* or in place of a key the constants; what all flags have */
    int cv_count, depth, rest_bytes, lanes;
} rc_blake3;

static inline void rc_blake3_init_lanes(rc_blake3 *state, int lanes_max) {
    state->chunk_count = 0;
    state->cv_count = state->depth = state->rest_bytes = 0;
    state->lanes = blake3_widest(lanes_max);
    memcpy(state->key, blake3_iv, sizeof state->key);
    state->mode = 0;
}

/* The keyed mode, of a state into which nothing came yet. */
static inline void rc_blake3_set_key(rc_blake3 *state, const uint8_t *key) {
    for (int i = 0; i < BLAKE3_KEY_BYTES / 4; i++)
        state->key[i] = blake3_word(key + 4 * i);
    state->mode = BLAKE3_KEYED;
}

static inline void rc_blake3_init(rc_blake3 *state) {
    rc_blake3_init_lanes(state, BLAKE3_LANES_MAX);
}

static inline void rc_blake3_init_keyed(rc_blake3 *state, const uint8_t *key) {
    rc_blake3_init(state);
    rc_blake3_set_key(state, key);
}

static void blake3_one_chunk(const rc_blake3 *state, const uint8_t *data, size_t size_bytes, uint64_t chunk,
                             uint32_t root, uint8_t *cv) {
    blake3_compress *const compress = blake3_single(state->lanes);
    uint8_t last[BLAKE3_BLOCK_BYTES] = {0};
    const size_t before = size_bytes ? (size_bytes - 1) / BLAKE3_BLOCK_BYTES : 0;
    uint32_t words[8], flags = state->mode | BLAKE3_CHUNK_START;
    memcpy(words, state->key, sizeof words);
    if (before) {
        compress(words, data, before, BLAKE3_BLOCK_BYTES, chunk, flags);
        data += before * BLAKE3_BLOCK_BYTES;
        size_bytes -= before * BLAKE3_BLOCK_BYTES;
        flags = state->mode;
    }
    memcpy(last, data, size_bytes);
    compress(words, last, 1, (uint32_t)size_bytes, chunk, flags | BLAKE3_CHUNK_END | root);
    blake3_write(cv, words);
}

/* The parent's CV may be where one of the two is. */
static void blake3_one_parent(const rc_blake3 *state, const uint8_t *both, uint32_t root, uint8_t *cv) {
    uint32_t words[8];
    memcpy(words, state->key, sizeof words);
    blake3_single(state->lanes)(words, both, 1, BLAKE3_BLOCK_BYTES, 0, state->mode | BLAKE3_PARENT | root);
    blake3_write(cv, words);
}

/* The CVs of `count` whole chunks, or parents where `blocks` is 1. What lies behind them in cvs up to the
   next multiple of the lanes is written over; inputs are read before. */
static void blake3_all(const rc_blake3 *state, const uint8_t *const *inputs, int count, int blocks,
                       uint64_t chunk, blake3_cv *cvs) {
    while (count) {
        const uint8_t *filled[BLAKE3_LANES_MAX];
        int step;
        blake3_kernel *const kernel = blake3_several(state->lanes, count, &step);
        if (kernel) {
            if (count < step) { /* lanes to spare take the last again */
                for (int i = 0; i < step; i++)
                    filled[i] = inputs[i < count ? i : count - 1];
                inputs = filled;
                step = count;
            }
            kernel(inputs, blocks, chunk, cvs, state->key, state->mode);
        } else if (blocks == 1) {
            blake3_one_parent(state, inputs[0], 0, cvs[0]);
        } else {
            blake3_one_chunk(state, inputs[0], BLAKE3_CHUNK_BYTES, chunk, 0, cvs[0]);
        }
        inputs += step, chunk += step, cvs += step, count -= step;
    }
}

/* Parents in place of their children, level by level, until no more than `left` are left. Where one has
   no other, it goes up alone: that is the tree whose left parts are whole. */
static void blake3_reduce(const rc_blake3 *state, blake3_cv *cvs, int count, int left) {
    while (count > left) {
        const uint8_t *inputs[BLAKE3_LANES_MAX];
        blake3_cv alone;
        memcpy(alone, cvs[count - 1], sizeof alone);
        for (int at = 0; at < count / 2; at += BLAKE3_LANES_MAX) {
            int taken = 0;
            while (taken < BLAKE3_LANES_MAX && at + taken < count / 2) {
                inputs[taken] = cvs[2 * (at + taken)];
                taken++;
            }
            blake3_all(state, inputs, taken, 1, 0, cvs + at);
        }
        if (count % 2)
            memcpy(cvs[count / 2], alone, sizeof alone);
        count = (count + 1) / 2;
    }
}

/* The first subtree of the CVs becomes one, merged with those before it of its size. More comes. */
static void blake3_close_subtree(rc_blake3 *state) {
    const uint64_t first = state->chunk_count - state->cv_count;
    uint64_t index = first / RC_BLAKE3_SUBTREE_CHUNKS;
    blake3_cv beyond[BLAKE3_LANES_MAX];
    state->cv_count -= RC_BLAKE3_SUBTREE_CHUNKS;
    memcpy(beyond, state->cvs + RC_BLAKE3_SUBTREE_CHUNKS, sizeof beyond);
    blake3_reduce(state, state->cvs, RC_BLAKE3_SUBTREE_CHUNKS, 1);
    memcpy(state->subtrees[state->depth++], state->cvs, sizeof(blake3_cv));
    for (; index & 1; index >>= 1) {
        state->depth--;
        blake3_one_parent(state, state->subtrees[state->depth - 1], 0, state->subtrees[state->depth - 1]);
    }
    memcpy(state->cvs, beyond, sizeof beyond);
}

static inline void rc_blake3_update(rc_blake3 *state, const uint8_t *data, size_t size_bytes) {
    if (state->rest_bytes) {
        const size_t room = BLAKE3_CHUNK_BYTES - state->rest_bytes;
        const size_t taken = size_bytes < room ? size_bytes : room;
        memcpy(state->rest + state->rest_bytes, data, taken);
        state->rest_bytes += (int)taken;
        data += taken;
        size_bytes -= taken;
        if (!size_bytes)
            return;
    }
    /* From here on the rest is empty, or full and not the last; the first chunk alone becomes the rest. */
    while (state->rest_bytes || size_bytes > BLAKE3_CHUNK_BYTES
           || (size_bytes == BLAKE3_CHUNK_BYTES && state->chunk_count)) {
        const uint8_t *inputs[BLAKE3_LANES_MAX];
        int count = 0;
        if (state->cv_count >= RC_BLAKE3_SUBTREE_CHUNKS)
            blake3_close_subtree(state);
        if (state->rest_bytes)
            inputs[count++] = state->rest;
        for (; count < BLAKE3_LANES_MAX && size_bytes >= BLAKE3_CHUNK_BYTES; count++) {
            inputs[count] = data;
            data += BLAKE3_CHUNK_BYTES;
            size_bytes -= BLAKE3_CHUNK_BYTES;
        }
        blake3_all(state, inputs, count, BLAKE3_CHUNK_BLOCKS, state->chunk_count,
                   state->cvs + state->cv_count);
        state->cv_count += count;
        state->chunk_count += count;
        state->rest_bytes = 0;
    }
    if (size_bytes) {
        memcpy(state->rest, data, size_bytes);
        state->rest_bytes = (int)size_bytes;
    }
}

static inline void rc_blake3_end(rc_blake3 *state, uint8_t *digest) {
    int left;
    if (!state->chunk_count) {
        blake3_one_chunk(state, state->rest, state->rest_bytes, 0, BLAKE3_ROOT, digest);
        return;
    }
    if (state->cv_count > RC_BLAKE3_SUBTREE_CHUNKS
        || (state->cv_count == RC_BLAKE3_SUBTREE_CHUNKS && state->rest_bytes))
        blake3_close_subtree(state);
    if (state->rest_bytes)
        blake3_one_chunk(state, state->rest, state->rest_bytes, state->chunk_count, 0,
                         state->cvs[state->cv_count++]);
    left = state->depth ? 1 : 2; /* there is a parent left, the root */
    blake3_reduce(state, state->cvs, state->cv_count, left);
    memcpy(state->subtrees[state->depth], state->cvs, left * sizeof(blake3_cv));
    for (state->depth += left; state->depth > 1; state->depth--)
        blake3_one_parent(state, state->subtrees[state->depth - 2], state->depth == 2 ? BLAKE3_ROOT : 0,
                          state->subtrees[state->depth - 2]);
    memcpy(digest, state->subtrees[0], sizeof(blake3_cv));
}

static inline void rc_blake3_final(const rc_blake3 *state, uint8_t *digest) {
    rc_blake3 end;
    if (!state->chunk_count) {
        blake3_one_chunk(state, state->rest, state->rest_bytes, 0, BLAKE3_ROOT, digest);
        return;
    }
    end = *state;
    rc_blake3_end(&end, digest);
}

#endif
