/* The loops of resampling.py, compiled when mlcycle is installed: see hatch_build.py.

Every sum is of integers, so that a compiler may order and vectorise it as it likes and the numbers stay those of
Pillow: weights of 22 bits, half of one added, rounded to a byte after each pass. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "two pixels of 4 bytes are taken for a little-endian number"
#endif

/* The compiler makes each loop for several processors, and the one at hand decides which runs. Clang 14 does so under
other names, by which nobody finds the loops. */
#if !defined(__x86_64__) || !defined(__GLIBC__) || defined(__AVX2__) || (defined(__clang__) && __clang_major__ < 19)
#define FOR_EACH_PROCESSOR
#elif defined(__clang__) || __GNUC__ < 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#endif

#ifdef __clang__
#define CHOOSE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CHOOSE(a, b, ...) __builtin_shuffle(a, b, (Pixels){__VA_ARGS__})
#endif

enum { WEIGHT_BITS = 22, ROWS = 16, BLOCK = 4 * ROWS, TILE = 32 };

/* Of thousands of weights the rounding can add up to more than a whole. */
static inline __attribute__((always_inline)) uint8_t byte_of(int32_t sum)
{
    const int32_t level = sum >> WEIGHT_BITS;
    return (uint8_t)(level > 255 ? 255 : level);
}

/* Weighs `taps` blocks of bytes, each `stride` bytes after the one before, into one block. */
static inline __attribute__((always_inline)) void weigh_block(
    const uint8_t *source, size_t stride, const int32_t *weights, int taps, uint8_t *target)
{
    int32_t sums[BLOCK];
    for (int i = 0; i < BLOCK; i++) sums[i] = 1 << (WEIGHT_BITS - 1);
    for (int tap = 0; tap < taps; tap++) {
        const uint8_t *bytes = source + tap * stride;
        const int32_t weight = weights[tap];
        for (int i = 0; i < BLOCK; i++) sums[i] += bytes[i] * weight;
    }
    for (int i = 0; i < BLOCK; i++) target[i] = byte_of(sums[i]);
}

/* Four pixels of 4 bytes each, and as two pairs. */
typedef uint32_t Pixels __attribute__((vector_size(16)));
typedef uint64_t Pairs __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) Pixels load(const uint8_t *bytes)
{
    Pixels pixels;
    memcpy(&pixels, bytes, sizeof pixels);
    return pixels;
}

/* Turns rows of four pixels into columns, or columns into rows. */
static inline __attribute__((always_inline)) void turn(const uint8_t *source, size_t source_row, Pixels turned[4])
{
    const Pixels a = load(source), b = load(source + source_row);
    const Pixels c = load(source + 2 * source_row), d = load(source + 3 * source_row);
    const Pixels ac = CHOOSE(a, c, 0, 4, 1, 5), bd = CHOOSE(b, d, 0, 4, 1, 5);
    const Pixels ac2 = CHOOSE(a, c, 2, 6, 3, 7), bd2 = CHOOSE(b, d, 2, 6, 3, 7);
    turned[0] = CHOOSE(ac, bd, 0, 4, 1, 5);
    turned[1] = CHOOSE(ac, bd, 2, 6, 3, 7);
    turned[2] = CHOOSE(ac2, bd2, 0, 4, 1, 5);
    turned[3] = CHOOSE(ac2, bd2, 2, 6, 3, 7);
}

/* Turns the pixels left to right of `count` rows into columns: bytes of the same pixel of all rows lie together. */
static inline __attribute__((always_inline)) void turn_tile(
    const uint8_t *rows, size_t row_bytes, int count, int left, int right, uint8_t *columns)
{
    for (int row = 0; row < count; row += 4) {
        const uint8_t *four = rows + row * row_bytes;
        int x = left;
        for (; row + 4 <= count && x + 4 <= right; x += 4) {
            Pixels turned[4];
            turn(four + 4 * x, row_bytes, turned);
            for (int i = 0; i < 4; i++) memcpy(columns + (size_t)BLOCK * (x + i) + 4 * row, turned + i, 16);
        }
        for (int rest = 0; rest < 4 && row + rest < count; rest++)
            for (int at = x; at < right; at++)
                memcpy(columns + (size_t)BLOCK * at + 4 * (row + rest), four + rest * row_bytes + 4 * at, 4);
    }
}

/* Turns columns back into the pixels left to right of `count` rows of `width` pixels of 3 bytes. */
static inline __attribute__((always_inline)) void write_tile(
    const uint8_t *columns, uint8_t *rows, int width, int count, int left, int right)
{
    const size_t row_bytes = (size_t)3 * width;
    for (int row = 0; row < count; row += 4) {
        const uint8_t *block = columns + 4 * row;
        uint8_t *four = rows + row * row_bytes;
        int x = left;
        /* Eight bytes are copied at once: two pixels, and two bytes that the next ones overwrite. */
        for (; row + 4 <= count && x + 4 <= right && x + 5 <= width; x += 4) {
            Pixels turned[4];
            turn(block + BLOCK * (x - left), BLOCK, turned);
            for (int i = 0; i < 4; i++) {
                const Pairs pairs = (Pairs)turned[i];
                const Pairs packed = (pairs & 0xffffff) | ((pairs >> 8) & 0xffffff000000);
                memcpy(four + i * row_bytes + 3 * x, &packed, 8);
                memcpy(four + i * row_bytes + 3 * x + 6, (const uint8_t *)&packed + 8, 8);
            }
        }
        for (int rest = 0; rest < 4 && row + rest < count; rest++)
            for (int at = x; at < right; at++)
                memcpy(four + rest * row_bytes + 3 * at, block + BLOCK * (at - left) + 4 * rest, 3);
    }
}

/* Resizes each row of an image, of 4 bytes a pixel as Pillow keeps them, to `made_width` pixels of 3 bytes.

Sixteen rows at a time are turned into columns, so that one weight applies to a whole block of bytes.

columns: room for BLOCK * width bytes. first, weights: of each pixel made, the first pixel that it is
made of, and `taps` weights. */
FOR_EACH_PROCESSOR
void resample_rows(const uint8_t *source, int width, int height, uint8_t *target, int made_width, const int32_t *first,
                   const int32_t *weights, int taps, uint8_t *columns)
{
    const size_t source_row = (size_t)4 * width, target_row = (size_t)3 * made_width;
    for (int y = 0; y < height; y += ROWS) {
        const int count = height - y < ROWS ? height - y : ROWS;
        /* In tiles: rows of 1,024 pixels lie 4,096 bytes apart, and sixteen of them do not fit into a cache together. */
        for (int left = 0; left < width; left += TILE) {
            const int right = left + TILE < width ? left + TILE : width;
            turn_tile(source + y * source_row, source_row, count, left, right, columns);
        }
        for (int left = 0; left < made_width; left += TILE) {
            uint8_t made[TILE * BLOCK];
            const int right = left + TILE < made_width ? left + TILE : made_width;
            for (int x = left; x < right; x++)
                weigh_block(columns + (size_t)BLOCK * first[x], BLOCK, weights + (size_t)taps * x, taps,
                            made + BLOCK * (x - left));
            write_tile(made, target + y * target_row, made_width, count, left, right);
        }
    }
}

/* Resizes the columns of an image of rows of `row_bytes` bytes to `made_height` rows. */
FOR_EACH_PROCESSOR
void resample_columns(const uint8_t *source, int row_bytes, uint8_t *target, int made_height, const int32_t *first,
                      const int32_t *weights, int taps)
{
    for (int y = 0; y < made_height; y++) {
        const uint8_t *rows = source + (size_t)row_bytes * first[y];
        const int32_t *row_weights = weights + (size_t)taps * y;
        uint8_t *made = target + (size_t)row_bytes * y;
        int at = 0;
        for (; at + BLOCK <= row_bytes; at += BLOCK) weigh_block(rows + at, row_bytes, row_weights, taps, made + at);
        for (; at < row_bytes; at++) {
            int32_t sum = 1 << (WEIGHT_BITS - 1);
            for (int tap = 0; tap < taps; tap++) sum += rows[(size_t)row_bytes * tap + at] * row_weights[tap];
            made[at] = byte_of(sum);
        }
    }
}
