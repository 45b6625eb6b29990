/* The compression function of BLAKE3 (section 2.2 of the paper): of one block, or of as many as vectors
   have lanes in step, each of another chunk or parent.

   Which of them a processor has is found out when the program runs. A chaining value (CV) is in memory
   as its 32 bytes, so that two in a row are the block of a parent. */

#ifndef BLAKE3_LANES_H
#define BLAKE3_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

enum {
    BLAKE3_LANES_MAX = 16,
    BLAKE3_CV_BYTES = 32,
    BLAKE3_KEY_BYTES = 32,
    BLAKE3_BLOCK_BYTES = 64,
    BLAKE3_CHUNK_BYTES = 1024,
    BLAKE3_CHUNK_BLOCKS = 16,
    BLAKE3_CHUNK_START = 1,
    BLAKE3_CHUNK_END = 2,
    BLAKE3_PARENT = 4,
    BLAKE3_ROOT = 8,
    BLAKE3_KEYED = 16
};

typedef uint8_t blake3_cv[BLAKE3_CV_BYTES];
/* `count` blocks, one after the other, into `state`, a CV in words. BLAKE3_CHUNK_START is for the first. */
typedef void blake3_compress(uint32_t *state, const uint8_t *block, size_t count, uint32_t size_bytes,
                             uint64_t chunk, uint32_t flags);
/* The CVs of as many chunks (16 blocks each) as there are lanes, the first of them number `chunk`; or,
   where `blocks` is 1, of parents. None of them is the root. They begin with `key`, and have `mode` among
   the flags of all blocks. */
typedef void blake3_kernel(const uint8_t *const *inputs, int blocks, uint64_t chunk, blake3_cv *cvs,
                           const uint32_t *key, uint32_t mode);

static const uint32_t blake3_iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* What the step before made is added last. */
#define G(a, b, c, d, x, y) \
    v[a] += m[x]; v[a] += v[b]; v[d] = ROTATED_16(v[d] ^ v[a]); \
    v[c] += v[d]; v[b] = ROTATED_12(v[b] ^ v[c]); \
    v[a] += m[y]; v[a] += v[b]; v[d] = ROTATED_8(v[d] ^ v[a]); \
    v[c] += v[d]; v[b] = ROTATED_7(v[b] ^ v[c])
#define ROUND_BY_G(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15) \
    G(0, 4, 8, 12, m0, m1); G(1, 5, 9, 13, m2, m3); G(2, 6, 10, 14, m4, m5); G(3, 7, 11, 15, m6, m7); \
    G(0, 5, 10, 15, m8, m9); G(1, 6, 11, 12, m10, m11); G(2, 7, 8, 13, m12, m13); G(3, 4, 9, 14, m14, m15)
/* Half of four G, step by step: a little faster where there are registers for all that is under way. */
#define HALVES(b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, w, x, y, z, FIRST, SECOND) \
    v[0] += m[w]; v[1] += m[x]; v[2] += m[y]; v[3] += m[z]; \
    v[0] += v[b0]; v[1] += v[b1]; v[2] += v[b2]; v[3] += v[b3]; \
    v[d0] ^= v[0]; v[d1] ^= v[1]; v[d2] ^= v[2]; v[d3] ^= v[3]; \
    v[d0] = FIRST(v[d0]); v[d1] = FIRST(v[d1]); v[d2] = FIRST(v[d2]); v[d3] = FIRST(v[d3]); \
    v[c0] += v[d0]; v[c1] += v[d1]; v[c2] += v[d2]; v[c3] += v[d3]; \
    v[b0] ^= v[c0]; v[b1] ^= v[c1]; v[b2] ^= v[c2]; v[b3] ^= v[c3]; \
    v[b0] = SECOND(v[b0]); v[b1] = SECOND(v[b1]); v[b2] = SECOND(v[b2]); v[b3] = SECOND(v[b3])
#define COLUMNS(...) HALVES(4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, __VA_ARGS__)
#define DIAGONALS(...) HALVES(5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14, __VA_ARGS__)
#define ROUND_BY_STEP(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15) \
    COLUMNS(m0, m2, m4, m6, ROTATED_16, ROTATED_12); COLUMNS(m1, m3, m5, m7, ROTATED_8, ROTATED_7); \
    DIAGONALS(m8, m10, m12, m14, ROTATED_16, ROTATED_12); \
    DIAGONALS(m9, m11, m13, m15, ROTATED_8, ROTATED_7)
#define ROUND ROUND_BY_G
/* Each round takes the words as the one before, permuted once more. */
#define ROUNDS \
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); \
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8); \
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1); \
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6); \
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4); \
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7); \
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
#define ROTATED(x, n) ((x) >> n | (x) << (32 - n))
#define ROTATED_16(x) ROTATED(x, 16)
#define ROTATED_12(x) ROTATED(x, 12)
#define ROTATED_8(x) ROTATED(x, 8)
#define ROTATED_7(x) ROTATED(x, 7)

static inline uint32_t blake3_word(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* A CV in words as its bytes. */
static inline void blake3_write(uint8_t *cv, const uint32_t *state) {
    for (int i = 0; i < BLAKE3_CV_BYTES; i++)
        cv[i] = (uint8_t)(state[i / 4] >> (8 * (i % 4)));
}

static void blake3_compress_words(uint32_t *state, const uint8_t *block, size_t count, uint32_t size_bytes,
                                  uint64_t chunk, uint32_t flags) {
    for (; count; count--, block += BLAKE3_BLOCK_BYTES, flags &= ~BLAKE3_CHUNK_START) {
        uint32_t m[16], v[16];
        for (int i = 0; i < 16; i++)
            m[i] = blake3_word(block + 4 * i);
        memcpy(v, state, 32);
        memcpy(v + 8, blake3_iv, 16);
        v[12] = (uint32_t)chunk, v[13] = (uint32_t)(chunk >> 32), v[14] = size_bytes, v[15] = flags;
        ROUNDS;
        for (int i = 0; i < 8; i++)
            state[i] = v[i] ^ v[i + 8];
    }
}

#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BLAKE3_VECTORS 1
#define UNROLLED _Pragma("GCC unroll 16")
/* Steps as they are written: GCC's own order made the widest kernel 7 % slower. */
#if defined(__clang__)
#define IN_ORDER
#else
#define IN_ORDER __attribute__((optimize("no-schedule-insns2")))
#endif
typedef uint32_t blake3_v4 __attribute__((vector_size(16)));
#if defined(__clang__)
#define SHUFFLED(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#else
#define SHUFFLED(x, y, a, b, c, d) __builtin_shuffle(x, y, (blake3_v4){a, b, c, d})
#endif
#define TURNED(x, a, b, c, d) SHUFFLED(x, x, a, b, c, d)

/* One block: a row of the state is a vector (or a quarter of one, of four blocks in step). The row that the next step waits for, b, stays as it is when
   the diagonals become columns; the others, and the words that come last, turn one further for that. */
#define HALF_ROUND(x, y) \
    a += x; a += b; d = ROTATED_16(d ^ a); c += d; b = ROTATED_12(b ^ c); \
    a += y; a += b; d = ROTATED_8(d ^ a); c += d; b = ROTATED_7(b ^ c)
#define ROWS(R) \
    R x = SHUFFLED(m0, m4, 0, 2, 4, 6), y = SHUFFLED(m0, m4, 1, 3, 5, 7); \
    R z = SHUFFLED(m8, m12, 6, 0, 2, 4), w = SHUFFLED(m8, m12, 7, 1, 3, 5); \
    for (int round = 0;;) { \
        HALF_ROUND(x, y); \
        a = TURNED(a, 3, 0, 1, 2), d = TURNED(d, 2, 3, 0, 1), c = TURNED(c, 1, 2, 3, 0); \
        HALF_ROUND(z, w); \
        a = TURNED(a, 1, 2, 3, 0), d = TURNED(d, 2, 3, 0, 1), c = TURNED(c, 3, 0, 1, 2); \
        if (++round == 7) \
            break; \
        const R next_x = SHUFFLED(x, y, 1, 5, 7, 2), zx = SHUFFLED(x, z, 3, 6, 0, 0); \
        const R yw = SHUFFLED(w, y, 0, 4, 0, 1), yz = SHUFFLED(z, y, 1, 0, 6, 0); \
        x = next_x, y = SHUFFLED(zx, w, 0, 1, 2, 7); \
        const R next_z = SHUFFLED(yw, z, 0, 1, 7, 3); \
        w = SHUFFLED(yz, w, 0, 6, 2, 3), z = next_z; \
    } \
    a ^= c, b ^= d
#define COMPRESS(NAME) \
    static void NAME(uint32_t *state, const uint8_t *block, size_t count, uint32_t size_bytes, \
                     uint64_t chunk, uint32_t flags) { \
        typedef blake3_v4 R; \
        R a, b; \
        memcpy(&a, state, 16), memcpy(&b, state + 4, 16); \
        for (; count; count--, block += BLAKE3_BLOCK_BYTES, flags &= ~BLAKE3_CHUNK_START) { \
            R c, d = {(uint32_t)chunk, (uint32_t)(chunk >> 32), size_bytes, flags}; \
            R m0, m4, m8, m12; \
            memcpy(&c, blake3_iv, 16); \
            memcpy(&m0, block, 16), memcpy(&m4, block + 16, 16); \
            memcpy(&m8, block + 32, 16), memcpy(&m12, block + 48, 16); \
            ROWS(R); \
        } \
        memcpy(state, &a, 16), memcpy(state + 4, &b, 16); \
    }
COMPRESS(blake3_compress_rows)

/* LANES blocks: a word of the state is a vector. LOAD has the words of block `at` of all inputs in m,
   STORE writes h; both turn rows into columns. */
#define KERNEL(NAME, LOAD, STORE) \
    IN_ORDER static void NAME(const uint8_t *const *inputs, int blocks, uint64_t chunk, blake3_cv *cvs, \
                              const uint32_t *key, uint32_t mode) { \
        const uint32_t low = blocks == 1 ? 0 : (uint32_t)chunk; \
        const uint32_t high = blocks == 1 ? 0 : (uint32_t)(chunk >> 32); \
        const V numbers = blocks == 1 ? (V){} : (V)COUNTS + low; \
        const V carries = (V){} + high - (V)(numbers < low); /* a comparison that holds is -1 */ \
        V h[8]; \
        UNROLLED for (int i = 0; i < 8; i++) \
            h[i] = (V){} + key[i]; \
        for (int at = 0; at < blocks; at++) { \
            const uint32_t flags = mode | (blocks == 1 ? BLAKE3_PARENT \
                : at == 0 ? BLAKE3_CHUNK_START : at == blocks - 1 ? BLAKE3_CHUNK_END : 0); \
            V m[16], v[16]; \
            LOAD; \
            UNROLLED for (int i = 0; i < 8; i++) \
                v[i] = h[i]; \
            UNROLLED for (int i = 0; i < 4; i++) \
                v[8 + i] = (V){} + blake3_iv[i]; \
            v[12] = numbers, v[13] = carries; \
            v[14] = (V){} + BLAKE3_BLOCK_BYTES, v[15] = (V){} + flags; \
            ROUNDS; \
            UNROLLED for (int i = 0; i < 8; i++) \
                h[i] = v[i] ^ v[i + 8]; \
        } \
        STORE; \
    }
/* Rows a..d of words become columns, in each four lanes. */
#define TURN(a, b, c, d, to) \
    do { \
        const V low_0 = LOW_32(a, b), low_1 = LOW_32(c, d); \
        const V high_0 = HIGH_32(a, b), high_1 = HIGH_32(c, d); \
        (to)[0] = LOW_64(low_0, low_1), (to)[1] = HIGH_64(low_0, low_1); \
        (to)[2] = LOW_64(high_0, high_1), (to)[3] = HIGH_64(high_0, high_1); \
    } while (0)

#define V blake3_v4
#define LANES 4
#define COUNTS {0, 1, 2, 3}
#define LOW_32(x, y) SHUFFLED(x, y, 0, 4, 1, 5)
#define HIGH_32(x, y) SHUFFLED(x, y, 2, 6, 3, 7)
#define LOW_64(x, y) SHUFFLED(x, y, 0, 1, 4, 5)
#define HIGH_64(x, y) SHUFFLED(x, y, 2, 3, 6, 7)
#define LOAD_4 \
    UNROLLED for (int q = 0; q < 4; q++) { \
        V row[4]; \
        UNROLLED for (int i = 0; i < 4; i++) \
            memcpy(&row[i], inputs[i] + 64 * at + 16 * q, 16); \
        TURN(row[0], row[1], row[2], row[3], m + 4 * q); \
    }
#define STORE_4 \
    UNROLLED for (int q = 0; q < 2; q++) { \
        V row[4]; \
        TURN(h[4 * q], h[4 * q + 1], h[4 * q + 2], h[4 * q + 3], row); \
        UNROLLED for (int i = 0; i < 4; i++) \
            memcpy(cvs[i] + 16 * q, &row[i], 16); \
    }
KERNEL(blake3_4, LOAD_4, STORE_4)
#undef V
#undef LANES
#undef COUNTS
#undef LOW_32
#undef HIGH_32
#undef LOW_64
#undef HIGH_64

#if defined(__x86_64__)
#define V blake3_v8
#define LANES 8
#define COUNTS {0, 1, 2, 3, 4, 5, 6, 7}
#define LOW_32(x, y) (V)_mm256_unpacklo_epi32((__m256i)(x), (__m256i)(y))
#define HIGH_32(x, y) (V)_mm256_unpackhi_epi32((__m256i)(x), (__m256i)(y))
#define LOW_64(x, y) (V)_mm256_unpacklo_epi64((__m256i)(x), (__m256i)(y))
#define HIGH_64(x, y) (V)_mm256_unpackhi_epi64((__m256i)(x), (__m256i)(y))
/* Four words of input i, and beside them of those four, eight and twelve further. Such loads cost no
   shuffle, of which there would be too many at a time between the rounds. */
#define FOUR(i) _mm_loadu_si128((const __m128i *)(inputs[i] + 64 * at + 16 * q))
#define EIGHT(i) _mm256_inserti128_si256(_mm256_castsi128_si256(FOUR(i)), FOUR(i + 4), 1)
#define LOAD_8 \
    UNROLLED for (int q = 0; q < 4; q++) { \
        V row[4]; \
        UNROLLED for (int i = 0; i < 4; i++) \
            row[i] = (V)EIGHT(i); \
        TURN(row[0], row[1], row[2], row[3], m + 4 * q); \
    }
#define STORE_8 \
    UNROLLED for (int q = 0; q < 2; q++) { \
        V row[4]; \
        TURN(h[4 * q], h[4 * q + 1], h[4 * q + 2], h[4 * q + 3], row); \
        UNROLLED for (int i = 0; i < 4; i++) { \
            _mm_storeu_si128((__m128i *)(cvs[i] + 16 * q), _mm256_castsi256_si128((__m256i)row[i])); \
            _mm_storeu_si128((__m128i *)(cvs[i + 4] + 16 * q), \
                             _mm256_extracti128_si256((__m256i)row[i], 1)); \
        } \
    }
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
#undef ROUND
#define ROUND ROUND_BY_STEP
__attribute__((target("avx512f,avx512vl"))) KERNEL(blake3_8_of_512, LOAD_8, STORE_8)
#undef ROUND
#define ROUND ROUND_BY_G

/* AVX2 does not rotate, but whole bytes can be shuffled. */
#undef ROTATED_16
#undef ROTATED_8
#define SHUFFLED_BYTES(x, a, b, c, d) \
    (V)_mm256_shuffle_epi8((__m256i)(x), _mm256_setr_epi32(a, b, c, d, a, b, c, d))
#define ROTATED_16(x) SHUFFLED_BYTES(x, 0x01000302, 0x05040706, 0x09080b0a, 0x0d0c0f0e)
#define ROTATED_8(x) SHUFFLED_BYTES(x, 0x00030201, 0x04070605, 0x080b0a09, 0x0c0f0e0d)
__attribute__((target("avx2"))) KERNEL(blake3_8, LOAD_8, STORE_8)
#undef ROTATED_16
#undef ROTATED_8
#define ROTATED_16(x) ROTATED(x, 16)
#define ROTATED_8(x) ROTATED(x, 8)
#undef V
#undef LANES
#undef COUNTS
#undef LOW_32
#undef HIGH_32
#undef LOW_64
#undef HIGH_64

#define V blake3_v16
#define LANES 16
#define COUNTS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define LOW_32(x, y) (V)_mm512_unpacklo_epi32((__m512i)(x), (__m512i)(y))
#define HIGH_32(x, y) (V)_mm512_unpackhi_epi32((__m512i)(x), (__m512i)(y))
#define LOW_64(x, y) (V)_mm512_unpacklo_epi64((__m512i)(x), (__m512i)(y))
#define HIGH_64(x, y) (V)_mm512_unpackhi_epi64((__m512i)(x), (__m512i)(y))
#define BESIDE(row, part, i) _mm512_mask_broadcast_i32x4(row, 15 << (4 * part), FOUR(i + 4 * part))
#define SIXTEEN(i) BESIDE(BESIDE(BESIDE(_mm512_castsi128_si512(FOUR(i)), 1, i), 2, i), 3, i)
#define LOAD_16 \
    UNROLLED for (int q = 0; q < 4; q++) { \
        V row[4]; \
        UNROLLED for (int i = 0; i < 4; i++) \
            row[i] = (V)SIXTEEN(i); \
        TURN(row[0], row[1], row[2], row[3], m + 4 * q); \
    }
#define STORE_PART(part) \
    _mm_storeu_si128((__m128i *)(cvs[4 * part + i] + 16 * q), \
                     _mm512_extracti32x4_epi32((__m512i)row[i], part))
#define STORE_16 \
    UNROLLED for (int q = 0; q < 2; q++) { \
        V row[4]; \
        TURN(h[4 * q], h[4 * q + 1], h[4 * q + 2], h[4 * q + 3], row); \
        UNROLLED for (int i = 0; i < 4; i++) \
            STORE_PART(0), STORE_PART(1), STORE_PART(2), STORE_PART(3); \
    }
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
#undef ROUND
#define ROUND ROUND_BY_STEP
__attribute__((target("avx512f,avx512vl"))) KERNEL(blake3_16, LOAD_16, STORE_16)

/* Rows again. What is taken of y goes over x by a mask: two steps of a cycle each, and a tenth less of the
   time than GCC's way, a permutation. */
#undef SHUFFLED
#undef TURNED
#define PICKED(a, b, c, d) (((a) & 3) | ((b) & 3) << 2 | ((c) & 3) << 4 | ((d) & 3) << 6)
#define FROM_SECOND(a, b, c, d) (0x1111 * ((a) >> 2 | (b) >> 2 << 1 | (c) >> 2 << 2 | (d) >> 2 << 3))
#define TURNED(x, a, b, c, d) (blake3_v4)_mm_shuffle_epi32((__m128i)(x), PICKED(a, b, c, d))
#define SHUFFLED(x, y, a, b, c, d) \
    (blake3_v4)_mm_mask_shuffle_epi32((__m128i)TURNED(x, a, b, c, d), FROM_SECOND(a, b, c, d) & 15, \
                                      (__m128i)(y), PICKED(a, b, c, d))
__attribute__((target("avx512f,avx512vl"))) COMPRESS(blake3_compress_512)
#undef SHUFFLED
#undef TURNED

/* Four blocks in step, for few inputs: they take as long as one, two thirds of what eight take by words. */
#define TURNED(x, a, b, c, d) (V)_mm512_shuffle_epi32((__m512i)(x), PICKED(a, b, c, d))
#define SHUFFLED(x, y, a, b, c, d) \
    (V)_mm512_mask_shuffle_epi32((__m512i)TURNED(x, a, b, c, d), FROM_SECOND(a, b, c, d), (__m512i)(y), \
                                 PICKED(a, b, c, d))
#define LANE(row, i, p) _mm512_mask_broadcast_i32x4(row, 15 << (4 * i), _mm_loadu_si128((const __m128i *)(p)))
#define EACH(p) (V)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
#define QUARTERS(q) \
    (V)LANE(LANE(LANE(LANE(_mm512_setzero_si512(), 0, inputs[0] + 64 * at + 16 * q), \
                      1, inputs[1] + 64 * at + 16 * q), 2, inputs[2] + 64 * at + 16 * q), \
            3, inputs[3] + 64 * at + 16 * q)
__attribute__((target("avx512f,avx512vl"))) static void blake3_4_of_512(
    const uint8_t *const *inputs, int blocks, uint64_t chunk, blake3_cv *cvs, const uint32_t *key,
    uint32_t mode) {
    const V constants = EACH(blake3_iv);
    uint32_t ends[16]; /* what each has behind its constants */
    V a = EACH(key), b = EACH(key + 4);
    for (int i = 0; i < 4; i++) {
        const uint64_t number = blocks == 1 ? 0 : chunk + i;
        ends[4 * i] = (uint32_t)number, ends[4 * i + 1] = (uint32_t)(number >> 32);
        ends[4 * i + 2] = BLAKE3_BLOCK_BYTES, ends[4 * i + 3] = 0;
    }
    const V numbers = (V)_mm512_loadu_si512(ends);
    for (int at = 0; at < blocks; at++) {
        const uint32_t flags = mode | (blocks == 1 ? BLAKE3_PARENT
            : at == 0 ? BLAKE3_CHUNK_START : at == blocks - 1 ? BLAKE3_CHUNK_END : 0);
        V c = constants, d = (V)_mm512_mask_set1_epi32((__m512i)numbers, 0x8888, (int)flags);
        const V m0 = QUARTERS(0), m4 = QUARTERS(1), m8 = QUARTERS(2), m12 = QUARTERS(3);
        ROWS(V);
    }
    for (int i = 0; i < 4; i++) {
        memcpy(cvs[i], (const uint8_t *)&a + 16 * i, 16);
        memcpy(cvs[i] + 16, (const uint8_t *)&b + 16 * i, 16);
    }
}
#undef V
#undef LANES
#undef COUNTS
#endif
#endif

/* The widest of `lanes_max` lanes or less that this processor has; 1: none. */
static int blake3_widest(int lanes_max) {
#if defined(BLAKE3_VECTORS) && defined(__x86_64__)
    __builtin_cpu_init();
    if (lanes_max >= 16 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return 16;
    if (lanes_max >= 8 && __builtin_cpu_supports("avx2"))
        return 8;
#endif
#if defined(BLAKE3_VECTORS)
    if (lanes_max >= 4)
        return 4;
#endif
    (void)lanes_max;
    return 1;
}

/* What is fastest for one block where there are so many lanes. */
static blake3_compress *blake3_single(int lanes) {
    (void)lanes;
#if defined(BLAKE3_VECTORS) && defined(__x86_64__)
    if (lanes == 16)
        return blake3_compress_512;
#endif
#if defined(BLAKE3_VECTORS)
    if (lanes >= 4)
        return blake3_compress_rows;
#endif
    return blake3_compress_words;
}

/* And for `count` inputs, of which it takes `step` at a time; NULL: one after the other. */
static blake3_kernel *blake3_several(int lanes, int count, int *step) {
    (void)lanes;
    *step = 1;
    if (count < 2)
        return NULL;
#if defined(BLAKE3_VECTORS) && defined(__x86_64__)
    if (lanes == 16 && count > 8)
        return *step = 16, blake3_16;
    if (lanes == 16 && count <= 4)
        return *step = 4, blake3_4_of_512;
    if (lanes >= 8)
        return *step = 8, lanes == 16 ? blake3_8_of_512 : blake3_8;
#endif
#if defined(BLAKE3_VECTORS)
    if (lanes >= 4)
        return *step = 4, blake3_4;
#endif
    return NULL;
}

#undef G
#undef ROUND
#undef ROUND_BY_G
#undef ROUND_BY_STEP
#undef HALVES
#undef COLUMNS
#undef DIAGONALS
#undef ROUNDS
#undef ROTATED
#undef ROTATED_16
#undef ROTATED_12
#undef ROTATED_8
#undef ROTATED_7
#undef UNROLLED
#undef IN_ORDER
#undef SHUFFLED
#undef TURNED
#undef PICKED
#undef FROM_SECOND
#undef LANE
#undef EACH
#undef QUARTERS
#undef SHUFFLED_BYTES
#undef HALF_ROUND
#undef ROWS
#undef COMPRESS
#undef KERNEL
#undef TURN
#undef FOUR
#undef EIGHT
#undef BESIDE
#undef SIXTEEN
#undef LOAD_4
#undef LOAD_8
#undef LOAD_16
#undef STORE_4
#undef STORE_8
#undef STORE_16
#undef STORE_PART
#undef LOW_32
#undef HIGH_32
#undef LOW_64
#undef HIGH_64

#endif
