/* MD5 (RFC 1321) over blocks of 64 bytes: of one message, or of several in step, each in a lane of vectors.

   Several are as fast as one for as long as there are lanes: a step of MD5 needs the one before. The rounds
   are written once; whether vectors have 16, 8 or 4 lanes is found out when the program runs. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MD5_LANES_MAX 16

typedef uint32_t md5_lanes_state[4][MD5_LANES_MAX];
typedef void md5_kernel(md5_lanes_state, const uint8_t *const *, const size_t *, size_t);

/* What depends on b, which the step before made, comes last. ADDED_G is shorter where sums are cheap. */
#define F(b, c, d) (d ^ (b & (c ^ d)))
#define G(b, c, d) (c ^ (d & (b ^ c)))
#define ADDED_G(b, c, d) ((c & ~d) + (b & d))
#define H(b, c, d) (b ^ (c ^ d))
#define I(b, c, d) (c ^ (b | ~d))
#define STEP(f, a, b, c, d, word, s, k) \
    a += (word) + (uint32_t)k; \
    a += f(b, c, d); \
    a = ((a << s) | (a >> (32 - s))) + b
#define ROUNDS(G, W) \
    do { \
        STEP(F, a, b, c, d, W(0), 7, 0xd76aa478); STEP(F, d, a, b, c, W(1), 12, 0xe8c7b756); \
        STEP(F, c, d, a, b, W(2), 17, 0x242070db); STEP(F, b, c, d, a, W(3), 22, 0xc1bdceee); \
        STEP(F, a, b, c, d, W(4), 7, 0xf57c0faf); STEP(F, d, a, b, c, W(5), 12, 0x4787c62a); \
        STEP(F, c, d, a, b, W(6), 17, 0xa8304613); STEP(F, b, c, d, a, W(7), 22, 0xfd469501); \
        STEP(F, a, b, c, d, W(8), 7, 0x698098d8); STEP(F, d, a, b, c, W(9), 12, 0x8b44f7af); \
        STEP(F, c, d, a, b, W(10), 17, 0xffff5bb1); STEP(F, b, c, d, a, W(11), 22, 0x895cd7be); \
        STEP(F, a, b, c, d, W(12), 7, 0x6b901122); STEP(F, d, a, b, c, W(13), 12, 0xfd987193); \
        STEP(F, c, d, a, b, W(14), 17, 0xa679438e); STEP(F, b, c, d, a, W(15), 22, 0x49b40821); \
        STEP(G, a, b, c, d, W(1), 5, 0xf61e2562); STEP(G, d, a, b, c, W(6), 9, 0xc040b340); \
        STEP(G, c, d, a, b, W(11), 14, 0x265e5a51); STEP(G, b, c, d, a, W(0), 20, 0xe9b6c7aa); \
        STEP(G, a, b, c, d, W(5), 5, 0xd62f105d); STEP(G, d, a, b, c, W(10), 9, 0x02441453); \
        STEP(G, c, d, a, b, W(15), 14, 0xd8a1e681); STEP(G, b, c, d, a, W(4), 20, 0xe7d3fbc8); \
        STEP(G, a, b, c, d, W(9), 5, 0x21e1cde6); STEP(G, d, a, b, c, W(14), 9, 0xc33707d6); \
        STEP(G, c, d, a, b, W(3), 14, 0xf4d50d87); STEP(G, b, c, d, a, W(8), 20, 0x455a14ed); \
        STEP(G, a, b, c, d, W(13), 5, 0xa9e3e905); STEP(G, d, a, b, c, W(2), 9, 0xfcefa3f8); \
        STEP(G, c, d, a, b, W(7), 14, 0x676f02d9); STEP(G, b, c, d, a, W(12), 20, 0x8d2a4c8a); \
        STEP(H, a, b, c, d, W(5), 4, 0xfffa3942); STEP(H, d, a, b, c, W(8), 11, 0x8771f681); \
        STEP(H, c, d, a, b, W(11), 16, 0x6d9d6122); STEP(H, b, c, d, a, W(14), 23, 0xfde5380c); \
        STEP(H, a, b, c, d, W(1), 4, 0xa4beea44); STEP(H, d, a, b, c, W(4), 11, 0x4bdecfa9); \
        STEP(H, c, d, a, b, W(7), 16, 0xf6bb4b60); STEP(H, b, c, d, a, W(10), 23, 0xbebfbc70); \
        STEP(H, a, b, c, d, W(13), 4, 0x289b7ec6); STEP(H, d, a, b, c, W(0), 11, 0xeaa127fa); \
        STEP(H, c, d, a, b, W(3), 16, 0xd4ef3085); STEP(H, b, c, d, a, W(6), 23, 0x04881d05); \
        STEP(H, a, b, c, d, W(9), 4, 0xd9d4d039); STEP(H, d, a, b, c, W(12), 11, 0xe6db99e5); \
        STEP(H, c, d, a, b, W(15), 16, 0x1fa27cf8); STEP(H, b, c, d, a, W(2), 23, 0xc4ac5665); \
        STEP(I, a, b, c, d, W(0), 6, 0xf4292244); STEP(I, d, a, b, c, W(7), 10, 0x432aff97); \
        STEP(I, c, d, a, b, W(14), 15, 0xab9423a7); STEP(I, b, c, d, a, W(5), 21, 0xfc93a039); \
        STEP(I, a, b, c, d, W(12), 6, 0x655b59c3); STEP(I, d, a, b, c, W(3), 10, 0x8f0ccc92); \
        STEP(I, c, d, a, b, W(10), 15, 0xffeff47d); STEP(I, b, c, d, a, W(1), 21, 0x85845dd1); \
        STEP(I, a, b, c, d, W(8), 6, 0x6fa87e4f); STEP(I, d, a, b, c, W(15), 10, 0xfe2ce6e0); \
        STEP(I, c, d, a, b, W(6), 15, 0xa3014314); STEP(I, b, c, d, a, W(13), 21, 0x4e0811a1); \
        STEP(I, a, b, c, d, W(4), 6, 0xf7537e82); STEP(I, d, a, b, c, W(11), 10, 0xbd3af235); \
        STEP(I, c, d, a, b, W(2), 15, 0x2ad7d2bb); STEP(I, b, c, d, a, W(9), 21, 0xeb86d391); \
    } while (0)

static inline uint32_t md5_word(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#define WORD(i) md5_word(data + 4 * i)
static void md5_one(uint32_t *state, const uint8_t *data, size_t count) {
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (; count; count--, data += 64) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        ROUNDS(ADDED_G, WORD);
        a += a0, b += b0, c += c0, d += d0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}
#undef WORD

#if defined(__GNUC__) && !defined(__clang__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* A step of turning LANES rows of words into columns: rows i and i + n change their blocks of n words. */
#define SWAP(n, low, high) \
    for (int i = 0; i < LANES; i++) \
        if (!(i & n)) { \
            const V x = row[i], y = row[i + n]; \
            row[i] = __builtin_shuffle(x, y, low); \
            row[i + n] = __builtin_shuffle(x, y, high); \
        }
#define TRANSPOSE_4 \
        SWAP(1, ((V){0, 4, 2, 6}), \
             ((V){1, 5, 3, 7})) \
        SWAP(2, ((V){0, 1, 4, 5}), \
             ((V){2, 3, 6, 7}))
#define TRANSPOSE_8 \
        SWAP(1, ((V){0, 8, 2, 10, 4, 12, 6, 14}), \
             ((V){1, 9, 3, 11, 5, 13, 7, 15})) \
        SWAP(2, ((V){0, 1, 8, 9, 4, 5, 12, 13}), \
             ((V){2, 3, 10, 11, 6, 7, 14, 15})) \
        SWAP(4, ((V){0, 1, 2, 3, 8, 9, 10, 11}), \
             ((V){4, 5, 6, 7, 12, 13, 14, 15}))
#define TRANSPOSE_16 \
        SWAP(1, ((V){0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30}), \
             ((V){1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31})) \
        SWAP(2, ((V){0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29}), \
             ((V){2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31})) \
        SWAP(4, ((V){0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27}), \
             ((V){4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31})) \
        SWAP(8, ((V){0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}), \
             ((V){8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31}))
#define WORD(i) w[i]
/* `count` blocks of each lane, which is `steps` bytes on after each: 0 where a lane has none, and reads
   the same again. */
#define KERNEL(NAME, TRANSPOSE) \
    static void NAME(md5_lanes_state state, const uint8_t *const *data, const size_t *steps, \
                     size_t count) { \
        V a, b, c, d; \
        memcpy(&a, state[0], sizeof(V)), memcpy(&b, state[1], sizeof(V)); \
        memcpy(&c, state[2], sizeof(V)), memcpy(&d, state[3], sizeof(V)); \
        for (size_t at = 0; at < count; at++) { \
            const V a0 = a, b0 = b, c0 = c, d0 = d; \
            V w[16]; \
            _Pragma("GCC unroll 16") for (V *row = w; row < w + 16; row += LANES) { \
                _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) \
                    memcpy(row + i, data[i] + at * steps[i] + 4 * (row - w), sizeof(V)); \
                TRANSPOSE \
            } \
            ROUNDS(G, WORD); \
            a += a0, b += b0, c += c0, d += d0; \
        } \
        memcpy(state[0], &a, sizeof(V)), memcpy(state[1], &b, sizeof(V)); \
        memcpy(state[2], &c, sizeof(V)), memcpy(state[3], &d, sizeof(V)); \
    }

#define V md5_v4
#define LANES 4
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
KERNEL(md5_4, TRANSPOSE_4)
#undef V
#undef LANES

#if defined(__x86_64__)
#define V md5_v8
#define LANES 8
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
__attribute__((target("avx2"))) KERNEL(md5_8, TRANSPOSE_8)
#undef V
#undef LANES

#define V md5_v16
#define LANES 16
typedef uint32_t V __attribute__((vector_size(4 * LANES)));
__attribute__((target("avx512f"))) KERNEL(md5_16, TRANSPOSE_16)
#undef V
#undef LANES
#endif
#undef WORD

/* The widest of `lanes_max` lanes or less that this processor has; how many it has, 1: there is none. */
static int md5_widest(int lanes_max, md5_kernel **kernel) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (lanes_max >= 16 && __builtin_cpu_supports("avx512f"))
        return *kernel = md5_16, 16;
    if (lanes_max >= 8 && __builtin_cpu_supports("avx2"))
        return *kernel = md5_8, 8;
#endif
    if (lanes_max >= 4)
        return *kernel = md5_4, 4;
    return *kernel = NULL, 1;
}
#else
static int md5_widest(int lanes_max, md5_kernel **kernel) {
    (void)lanes_max;
    return *kernel = NULL, 1;
}
#endif
