/* The loops of resampling.py, compiled when mlcycle is installed: see hatch_build.py.

Every sum is of integers, so that a compiler may order and vectorise it as it likes and the numbers stay those of
Pillow: weights of 22 bits, half of one added, rounded to a byte after each pass. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The compiler makes each loop for several processors, and the one at hand decides which runs. */
#if !defined(__x86_64__) || !defined(__GLIBC__) || defined(__AVX2__)
#define FOR_EACH_PROCESSOR
#elif defined(__clang__) || __GNUC__ < 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
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
        const uint8_t *rows = source + y * source_row;
        const int count = height - y < ROWS ? height - y : ROWS;
        /* In tiles: rows of 1,024 pixels lie 4,096 bytes apart, and sixteen of them do not fit into a cache together. */
        for (int left = 0; left < width; left += TILE) {
            const int right = left + TILE < width ? left + TILE : width;
            for (int row = 0; row < count; row++)
                for (int x = left; x < right; x++)
                    memcpy(columns + (size_t)BLOCK * x + 4 * row, rows + row * source_row + 4 * x, 4);
        }

        for (int left = 0; left < made_width; left += TILE) {
            uint8_t made[TILE * BLOCK];
            const int right = left + TILE < made_width ? left + TILE : made_width;
            for (int x = left; x < right; x++)
                weigh_block(columns + (size_t)BLOCK * first[x], BLOCK, weights + (size_t)taps * x, taps,
                            made + BLOCK * (x - left));
            /* Four bytes are copied at once; the fourth is the next pixel's. The last of a row has no next. */
            const int whole = right < made_width ? right : made_width - 1;
            for (int row = 0; row < count; row++) {
                uint8_t *pixels = target + (y + row) * target_row;
                const uint8_t *column = made + 4 * row;
                for (int x = left; x < whole; x++) memcpy(pixels + 3 * x, column + BLOCK * (x - left), 4);
                if (whole < right) memcpy(pixels + 3 * whole, column + BLOCK * (whole - left), 3);
            }
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
