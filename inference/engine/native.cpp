// The forward pass of the network on a CPU, over a ragged batch of tokens: some continue an answer,
// others are a piece of a prompt, each with its own place in the key/value cache.
//
// An output is always the same sum in the same order, whatever else is in the batch, so a text does
// not depend on who else is being served, and a cached prefix equals a computed one, to the bit.
//
// Weights lie in panels of LANES rows, (rows / LANES, columns, LANES): one load brings one column of
// LANES rows, and LANES outputs grow side by side. A weight is a float32 or the upper half of one
// (bfloat16), or it has 8 or 4 bits, in blocks of 32 with a scale each, as GGUF's q8_0 and q4_0. What
// is multiplied with the last two is rounded to 8 bits in the same way: a block's sum is one of
// integers, so exact; sums of blocks, and all others, are in float32.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
static int omp_get_num_threads() { return 1; }
#endif

#ifdef __AVX512BW__
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
// Sums of this many tokens and two panels fit the registers: AVX2 has 16, AVX-512 and NEON 32.
constexpr int MOST_QUERIES = 4;
constexpr int MOST_TOKENS = LANES == 8 ? 4 : 8;

// Vectors as gcc and clang have them; no alignment is assumed.
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int8_t ByteVec __attribute__((vector_size(LANES), aligned(1)));
typedef uint8_t Bytes __attribute__((vector_size(4 * LANES), aligned(1)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * LANES), aligned(2)));

struct Matrix {
    // (rows / LANES, columns, LANES) float32 or bfloat16; of 8 bits (rows / LANES, blocks, 8 quads,
    // LANES, 4 columns) bytes, the weight / scale + 128; of 4 bits (rows / LANES, blocks, 4 pairs of
    // quads, LANES, 4 columns), weight / scale + 8, the first quad in the lower halves of the bytes.
    void *panels;
    uint16_t *scales;  // (rows / LANES, blocks, LANES) float16; null: there are no blocks
    int rows, columns;
    int bits;  // of a weight: 32, 16, 8 or 4
};

struct Expert {
    Matrix gate, up, down;
};

struct Layer {
    const float *input_norm, *attention_norm;
    const float *q_norm, *k_norm;          // (head_dim); null: none
    const float *q_bias, *k_bias, *v_bias;  // null: none
    Matrix q, k, v, o, gate, up, down;
    Matrix router;           // (experts, hidden)
    const Expert *experts;  // in place of gate, up and down; null: none
    int has_rope;
};

struct Network {
    int hidden, intermediate, layers, heads, kv_heads, head_dim, vocab;
    int experts, chosen, expert_size;  // chosen: experts that a token takes
    int slots, max_length, threads;
    int window;  // positions that a token looks at, its own included; 0: all
    int norm_shares;
    float epsilon;
    Matrix embedding;            // (vocab, hidden)
    const float *cosine, *sine;  // (positions, head_dim)
    const float *norm;
    const Layer *layer;
    Matrix head;  // without panels: the result is the hidden states that it would get
    float *keys, *values;  // (layers, slots, kv_heads, max_length, head_dim)
};

struct Token {
    int id, slot, position;
    int output;  // the row of the result that gets this token's logits, or -1
};

static Vec load(const float *p) { return *reinterpret_cast<const Vec *>(p); }
static float widened(float weight) { return weight; }
static float widened(uint16_t weight) {  // a bfloat16 is the upper half of a float32
    uint32_t bits = static_cast<uint32_t>(weight) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}
static Vec load(const uint16_t *p) {
#ifdef __AVX512BW__
    return reinterpret_cast<Vec>(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))), 16));
#elif defined(__AVX2__)
    return reinterpret_cast<Vec>(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))), 16));
#else
    IntVec bits = __builtin_convertvector(*reinterpret_cast<const HalfVec *>(p), IntVec) << 16;
    return reinterpret_cast<Vec>(bits);
#endif
}
static void store(float *p, Vec v) { *reinterpret_cast<Vec *>(p) = v; }

// A float16's exponent is lower by 112 when its bits are read as those of a float32.
static float widened_half(uint16_t half) {
    uint32_t bits = static_cast<uint32_t>(half & 0x7FFF) << 13;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    result *= 0x1p112f;
    return half & 0x8000 ? -result : result;
}
static Vec load_halves(const uint16_t *p) {
#ifdef __AVX512BW__
    return reinterpret_cast<Vec>(
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))));
#elif defined(__F16C__)
    return reinterpret_cast<Vec>(
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
#else
    Vec result;
    for (int i = 0; i < LANES; i++) result[i] = widened_half(p[i]);
    return result;
#endif
}
// The nearest float16, ties to even; at most 65504.
static uint16_t narrowed_half(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint16_t sign = bits >> 16 & 0x8000;
    x = std::min(std::fabs(x), 65504.0f);
    // Adding 2^13 times its power of two (at least 2^-14, the smallest normal float16) cuts x off
    // behind 11 bits, rounding.
    std::memcpy(&bits, &x, sizeof bits);
    bits = std::max(bits & 0x7F800000u, 113u << 23) + (13u << 23);
    float power;
    std::memcpy(&power, &bits, sizeof power);
    x = (x + power - power) * 0x1p-112f;
    std::memcpy(&bits, &x, sizeof bits);
    return sign | bits >> 13;
}

constexpr int BLOCK = 32, QUADS = BLOCK / 4;
constexpr float NOTHING = 1e-30f;  // whose reciprocal is finite; smaller ones are rounded to 0

#ifdef __AVX2__
constexpr int BIAS_8 = 128;  // of a byte of 8 bits, when it is multiplied: >= 0
#else
constexpr int BIAS_8 = 0;
#endif

#ifdef __AVX2__
typedef int16_t Shorts __attribute__((vector_size(4 * LANES), aligned(1)));
typedef uint16_t UShorts __attribute__((vector_size(4 * LANES), aligned(1)));

// Sums of the products of neighbours: of 16 bits, and of bytes >= 0 with codes (at most 16 bits).
static IntVec pair_sums(Shorts a, Shorts b) {
#ifdef __AVX512BW__
    return reinterpret_cast<IntVec>(
        _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#else
    return reinterpret_cast<IntVec>(
        _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
}
static Shorts pair_sums(Bytes a, IntVec b) {
#ifdef __AVX512BW__
    return reinterpret_cast<Shorts>(
        _mm512_maddubs_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#else
    return reinterpret_cast<Shorts>(
        _mm256_maddubs_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
}
#endif

// total + the products of 4 columns: of each lane 4 bytes of weights, and 4 codes of x.
template <int BITS>
static IntVec dot_quad(IntVec total, Bytes weight, const int8_t *x) {
    int32_t four;
    std::memcpy(&four, x, sizeof four);
    const IntVec all = IntVec{} + four;
#ifdef __AVX512VNNI__
    return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(total),
                                                        reinterpret_cast<__m512i>(weight),
                                                        reinterpret_cast<__m512i>(all)));
#elif defined(__AVXVNNI__) && !defined(__AVX512BW__)
    return reinterpret_cast<IntVec>(_mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(total),
                                                            reinterpret_cast<__m256i>(weight),
                                                            reinterpret_cast<__m256i>(all)));
#elif defined(__AVX2__)
    // Pairs of products of 4 bits fit 16 bits; of 8 bits, those of the columns 0 and 2, 1 and 3 do 32.
    if (BITS == 4) return total + pair_sums(pair_sums(weight, all), Shorts{} + 1);
    const UShorts words = reinterpret_cast<UShorts>(weight);
    const Shorts codes = reinterpret_cast<Shorts>(all);
    return total + pair_sums(reinterpret_cast<Shorts>(words & 255), codes << 8 >> 8) +
           pair_sums(reinterpret_cast<Shorts>(words >> 8), codes >> 8);
#elif defined(__ARM_FEATURE_DOTPROD)
    return reinterpret_cast<IntVec>(vdotq_s32(reinterpret_cast<int32x4_t>(total),
                                              reinterpret_cast<int8x16_t>(weight),
                                              reinterpret_cast<int8x16_t>(all)));
#else
    const IntVec words = reinterpret_cast<IntVec>(weight);  // of little-endian bytes
    for (int j = 0; j < 4; j++) total += (words << (24 - 8 * j) >> 24) * x[j];
    return total;
#endif
}

static float sum(Vec v) {
#ifdef __AVX512BW__  // in the order of the loop below
    return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#endif
    float lanes[LANES];
    store(lanes, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

// In LANES partial sums, so in another order than one after the other; but always in the same.
static float dot(const float *a, const float *b, int n) {
    Vec total = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) total += load(a + i) * load(b + i);
    float rest = sum(total);
    for (; i < n; i++) rest += a[i] * b[i];
    return rest;
}

// e to the x, to within 2e-7 of it: 2 to a whole number times a polynomial (Cephes' expf).
static Vec exponential(Vec x) {
    x = x < -87.0f ? Vec{} - 87.0f : x;
    x = x > 88.0f ? Vec{} + 88.0f : x;
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    Vec shifted = x * 1.44269504f + shift;
    Vec whole = shifted - shift;
    x = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    Vec y = Vec{} + 1.9875691500e-4f;
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    IntVec bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = ((bits - 0x4B400000) + 127) << 23;
    Vec power;
    std::memcpy(&power, &bits, sizeof power);
    return y * power;
}

static float most_of(Vec v) {
#ifdef __AVX512BW__
    return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v));
#endif
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = std::max(most, v[i]);
    return most;
}
static int32_t sum_of(IntVec v) {
#ifdef __AVX512BW__
    return _mm512_reduce_add_epi32(reinterpret_cast<__m512i>(v));
#endif
    int32_t total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

// What a thread multiplies with matrices: x (tokens, columns), and rounded when the first of them has
// blocks: (blocks, tokens, BLOCK) codes, the largest of a block 127 (columns that the last block is
// short of are 0), their scales and the negative sums of a block's codes, (blocks, tokens) each.
struct Input {
    const float *x;
    int tokens, columns;
    bool rounded;
    std::vector<int8_t> codes;
    std::vector<float> scales;
    std::vector<int32_t> sums;

    void set(const float *values, int count, int size) {
        x = values, tokens = count, columns = size, rounded = false;
    }
    int blocks() const { return (columns + BLOCK - 1) / BLOCK; }

    void round() {
        if (rounded) return;
        rounded = true;
        const long all = static_cast<long>(tokens) * blocks();
        if (static_cast<long>(sums.size()) < all)
            codes.resize(all * BLOCK), scales.resize(all), sums.resize(all);
        for (int b = 0; b < blocks(); b++)
            for (int t = 0; t < tokens; t++) {
                const float *from = x + static_cast<long>(t) * columns + b * BLOCK;
                round_block(from, std::min(BLOCK, columns - b * BLOCK),
                            static_cast<long>(b) * tokens + t);
            }
    }

    void round_block(const float *from, int count, long number) {
        float padded[BLOCK] = {};
        const float *values = from;
        if (count < BLOCK) {
            std::memcpy(padded, from, count * sizeof(float));
            values = padded;
        }
        Vec most = {};
        for (int i = 0; i < BLOCK; i += LANES) {
            const Vec value = load(values + i), size = value < 0.0f ? -value : value;
            most = size > most ? size : most;
        }
        const float largest = most_of(most);
        const float inverse = largest > NOTHING ? 127 / largest : 0;
        IntVec sum = {};
        for (int i = 0; i < BLOCK; i += LANES) {
            const Vec shifted = load(values + i) * inverse + 12582912.0f;  // as in `exponential`
            const IntVec whole = reinterpret_cast<IntVec>(shifted) - 0x4B400000;
            sum += whole;
            const ByteVec bytes = __builtin_convertvector(whole, ByteVec);
            std::memcpy(&codes[number * BLOCK + i], &bytes, sizeof bytes);
        }
        scales[number] = largest / 127;
        sums[number] = -sum_of(sum);
    }
};

// Two quads of a block of LANES rows, as bytes of whole weights.
template <int BITS>
static void unpack(const uint8_t *codes, Bytes &first, Bytes &second) {
    std::memcpy(&first, codes, sizeof first);
    if constexpr (BITS == 8) {
        std::memcpy(&second, codes + sizeof first, sizeof second);
        first ^= static_cast<uint8_t>(128 - BIAS_8), second ^= static_cast<uint8_t>(128 - BIAS_8);
    } else {
        second = first >> 4;
        first &= 15;
    }
}

// M tokens times P panels of weights in blocks, as `tile`. A weight is (code - bias) * scale, so that
// sum of weight * x = scale * scale of x * (sum of code * code of x - bias * sum of codes of x).
template <int M, int P, int BITS>
static void block_tile(const Matrix &w, int panel, const Input &in, int token, Vec (&total)[M][P]) {
    constexpr int BYTES = BLOCK * LANES * BITS / 8, AHEAD = 4;
    constexpr int BIAS = BITS == 8 ? BIAS_8 : 8;
    const int blocks = in.blocks();
    for (int m = 0; m < M; m++)
        for (int p = 0; p < P; p++) total[m][p] = Vec{};
    const uint8_t *codes = static_cast<const uint8_t *>(w.panels);
    for (int b = 0; b < blocks; b++) {
        const long at = static_cast<long>(b) * in.tokens + token;
        const int8_t *x = in.codes.data() + at * BLOCK;
        const float *x_scales = in.scales.data() + at;
        const int32_t *sums = in.sums.data() + at;
        const uint8_t *at_block[P];
        IntVec sum[M][P];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            at_block[p] = codes + (static_cast<long>(panel + p) * blocks + b) * BYTES;
            for (int i = 0; i < BYTES; i += 64)
                __builtin_prefetch(at_block[p] + AHEAD * BYTES + i);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) sum[m][p] = (IntVec{} + sums[m]) * BIAS;
        }
#pragma GCC unroll 4
        for (int q = 0; q < QUADS; q += 2) {
            Bytes weight[P][2];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++)
                unpack<BITS>(at_block[p] + q * BYTES / QUADS, weight[p][0], weight[p][1]);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++)
#pragma GCC unroll 2
                for (int i = 0; i < 2; i++)
#pragma GCC unroll 8
                    for (int p = 0; p < P; p++)
                        sum[m][p] =
                            dot_quad<BITS>(sum[m][p], weight[p][i], x + m * BLOCK + 4 * (q + i));
        }
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            const long place = static_cast<long>(panel + p) * blocks + b;
            const Vec scale = load_halves(w.scales + place * LANES);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++)
                total[m][p] += __builtin_convertvector(sum[m][p], Vec) * (scale * x_scales[m]);
        }
    }
}

// M tokens times P panels: total[m][p] gets LANES outputs of token m. A weight that is loaded serves
// M tokens, an x that is broadcast P panels: M + P loads for M * P multiplications.
template <int M, int P, class T>
static void tile(const T *panels, const float *x, int columns, Vec (&total)[M][P]) {
    for (int m = 0; m < M; m++)
        for (int p = 0; p < P; p++) total[m][p] = Vec{};
    for (int column = 0; column < columns; column++) {
        Vec weight[P];
        for (int p = 0; p < P; p++)
            weight[p] = load(panels + (static_cast<long>(p) * columns + column) * LANES);
        for (int m = 0; m < M; m++)
            for (int p = 0; p < P; p++)
                total[m][p] += weight[p] * x[static_cast<long>(m) * columns + column];
    }
}

template <int BITS>
struct Blocks {};  // of weights, in the place of their type

// out (tokens, stride) = or += x times P panels of a matrix, for M tokens.
template <int M, int P, class T>
static void product_tile(const Matrix &w, int panel, const Input &in, int token, float *out,
                         int stride, bool add) {
    Vec total[M][P];
    if constexpr (std::is_same<T, Blocks<8>>::value)
        block_tile<M, P, 8>(w, panel, in, token, total);
    else if constexpr (std::is_same<T, Blocks<4>>::value)
        block_tile<M, P, 4>(w, panel, in, token, total);
    else
        tile<M, P, T>(
            static_cast<const T *>(w.panels) + static_cast<long>(panel) * w.columns * LANES,
            in.x + static_cast<long>(token) * w.columns, w.columns, total);
    for (int p = 0; p < P; p++) {
        int row = (panel + p) * LANES, count = std::min(LANES, w.rows - row);
        for (int m = 0; m < M; m++) {
            float *target = out + static_cast<long>(token + m) * stride + row;
            Vec old = {};
            if (add) std::memcpy(&old, target, count * sizeof(float));
            Vec value = total[m][p] + old;
            std::memcpy(target, &value, count * sizeof(float));
        }
    }
}

// The same for all tokens, in tiles of 8, 4, 2 and 1.
template <int P, class T>
static void product_group(const Matrix &w, int panel, const Input &in, float *out, int stride,
                          bool add) {
    int token = 0;
    auto run = [&](auto m) {
        constexpr int M = decltype(m)::value;
        for (; token + M <= in.tokens; token += M)
            product_tile<M, P, T>(w, panel, in, token, out, stride, add);
    };
    constexpr bool blocks = !std::is_arithmetic<T>::value;
    if constexpr (P <= 2 && MOST_TOKENS == 8 && !blocks) run(std::integral_constant<int, 8>());
    if constexpr (P <= 2 || (MOST_TOKENS == 8 && !blocks)) run(std::integral_constant<int, 4>());
    if constexpr (P <= (blocks ? 2 : 4)) run(std::integral_constant<int, 2>());
    run(std::integral_constant<int, 1>());
}

// The share of one thread in a product of all tokens with a matrix: a range of panels, so that every
// weight is read by one thread, once for each tile of tokens. Few tokens leave registers for more
// panels side by side, which is more of the weights in flight from memory at a time.
template <class T>
static void product_of(const Matrix &w, const Input &in, float *out, int stride, bool add, int thread,
                       int threads) {
    int panels = (w.rows + LANES - 1) / LANES;
    int panel = static_cast<long>(panels) * thread / threads;
    int end = static_cast<long>(panels) * (thread + 1) / threads;
    if (std::is_arithmetic<T>::value ? in.tokens < MOST_TOKENS : in.tokens == 1)
        for (; panel + 4 <= end; panel += 4) product_group<4, T>(w, panel, in, out, stride, add);
    for (; panel + 2 <= end; panel += 2) product_group<2, T>(w, panel, in, out, stride, add);
    for (; panel < end; panel++) product_group<1, T>(w, panel, in, out, stride, add);
}

static void product(const Matrix &w, Input &in, float *out, int stride, bool add, int thread,
                    int threads) {
    if (w.scales) in.round();
    if (w.bits == 4)
        product_of<Blocks<4>>(w, in, out, stride, add, thread, threads);
    else if (w.bits == 8)
        product_of<Blocks<8>>(w, in, out, stride, add, thread, threads);
    else if (w.bits == 16)
        product_of<uint16_t>(w, in, out, stride, add, thread, threads);
    else
        product_of<float>(w, in, out, stride, add, thread, threads);
}

// Where a weight of a matrix in blocks is: the byte, and the scale.
struct Place {
    long byte, scale;
    bool is_upper;
};
static Place place_of(const Matrix &w, int row, int column) {
    const int blocks = (w.columns + BLOCK - 1) / BLOCK, lane = row % LANES, at = column % BLOCK;
    const long block = static_cast<long>(row / LANES) * blocks + column / BLOCK;
    const int quad = w.bits == 4 ? at / 8 : at / 4;
    const long byte = block * BLOCK * LANES * w.bits / 8 + (quad * LANES + lane) * 4 + at % 4;
    return {byte, block * LANES + lane, at / 4 % 2 == 1};
}

// out (columns) = a row of a matrix, from its lane of its panel.
static void copy_row(const Matrix &w, int row, float *out) {
    const long begin = static_cast<long>(row / LANES) * w.columns * LANES + row % LANES;
    for (int column = 0; column < w.columns; column++) {
        const long at = begin + static_cast<long>(column) * LANES;
        if (w.bits == 32) out[column] = static_cast<const float *>(w.panels)[at];
        if (w.bits == 16) out[column] = widened(static_cast<const uint16_t *>(w.panels)[at]);
        if (!w.scales) continue;
        const Place place = place_of(w, row, column);
        const int byte = static_cast<const uint8_t *>(w.panels)[place.byte];
        const int code = w.bits == 8 ? byte - 128 : (place.is_upper ? byte >> 4 : byte & 15) - 8;
        out[column] = code * widened_half(w.scales[place.scale]);
    }
}

// Puts a row of float32 weights into its lane of its panel. In blocks it rounds as ggml does: of 8
// bits the largest becomes 127 or -127, of 4 bits -8.
static void put_row(const Matrix &w, int row, const float *weights) {
    const long begin = static_cast<long>(row / LANES) * w.columns * LANES + row % LANES;
    for (int column = 0; column < w.columns && !w.scales; column++) {
        const long at = begin + static_cast<long>(column) * LANES;
        uint32_t bits;
        std::memcpy(&bits, weights + column, sizeof bits);
        if (w.bits == 32) static_cast<float *>(w.panels)[at] = weights[column];
        if (w.bits == 16) static_cast<uint16_t *>(w.panels)[at] = bits >> 16;
    }
    for (int first = 0; first < w.columns && w.scales; first += BLOCK) {
        float largest = 0;  // with its sign
        for (int i = first; i < std::min(first + BLOCK, w.columns); i++)
            if (std::fabs(weights[i]) > std::fabs(largest)) largest = weights[i];
        const float scale = w.bits == 8 ? std::fabs(largest) / 127 : largest / -8;
        const float inverse = std::fabs(scale) > NOTHING ? 1 / scale : 0;
        w.scales[place_of(w, row, first).scale] = narrowed_half(scale);
        for (int i = first; i < first + BLOCK; i++) {  // behind the last column 0, as the x there
            const float weight = i < w.columns ? weights[i] : 0;
            const Place place = place_of(w, row, i);
            uint8_t &byte = static_cast<uint8_t *>(w.panels)[place.byte];
            if (w.bits == 8) {
                byte = 128 + static_cast<int>(std::round(weight * inverse));
                continue;
            }
            // To float32 at the end alone, whether or not the compiler fuses product and sum.
            const float moved = static_cast<float>(double(weight) * inverse + 8.5);
            const int code = std::min(15, static_cast<int>(moved));
            byte = place.is_upper ? (byte & 15) | code << 4 : (byte & 0xF0) | code;
        }
    }
}

template <class T>
static void pack(const T *weights, const Matrix &w, int threads) {
    const int padded = (w.rows + LANES - 1) / LANES * LANES;
#pragma omp parallel for num_threads(threads)
    for (int first = 0; first < padded; first += LANES) {
        std::vector<float> row(w.columns);
        for (int r = first; r < first + LANES; r++) {
            for (int i = 0; i < w.columns; i++)
                row[i] = r < w.rows ? widened(weights[static_cast<long>(r) * w.columns + i]) : 0;
            put_row(w, r, row.data());
        }
    }
}

// x / sqrt(mean(x^2) + epsilon) * weight (RMSNorm, arXiv 1910.07467).
static void rms_norm(const float *x, const float *weight, float *out, int n, float epsilon) {
    float factor = 1.0f / std::sqrt(dot(x, x, n) / n + epsilon);
    for (int i = 0; i < n; i++) out[i] = x[i] * factor * weight[i];
}

// Turns a head by the angles of its position (RoPE, arXiv 2104.09864), in the rotate-half layout:
// the pairs are i and i + head_dim / 2.
static void rotate(float *head, const float *cosine, const float *sine, int head_dim) {
    int half = head_dim / 2;
    for (int i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i + half] + a * sine[i + half];
    }
}

// A head of a token that looks at the keys and values from `first` to before `end` of its sequence.
struct Query {
    const float *vector;  // (head_dim)
    float *out;           // (head_dim)
    float *scores;        // room for `end` of them, and LANES
    int first, end;
};

// G queries' products with the keys (positions, head_dim) from begin to end; a key that is loaded
// serves them all. Each is summed up as by `dot`, however many there are.
template <int G>
static void score(const Query *queries, const float *keys, int begin, int end, int head_dim) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    for (int i = begin; i < end; i++) {
        const float *key = keys + static_cast<long>(i) * head_dim;
        Vec total[G] = {};
        int j = 0;
        for (; j + LANES <= head_dim; j += LANES)
            for (int g = 0; g < G; g++) total[g] += load(queries[g].vector + j) * load(key + j);
        for (int g = 0; g < G; g++) {
            float rest = sum(total[g]);
            for (int k = j; k < head_dim; k++) rest += queries[g].vector[k] * key[k];
            queries[g].scores[i] = rest * scale;
        }
    }
}

// G queries' out += scores times the values (positions, head_dim) from begin to end, P vectors of
// each value from `at` on.
template <int G, int P>
static void weigh(const Query *queries, const float *values, int begin, int end, int head_dim,
                  int at) {
    Vec total[G][P];
    for (int g = 0; g < G; g++)
        for (int p = 0; p < P; p++) total[g][p] = load(queries[g].out + at + p * LANES);
    for (int i = begin; i < end; i++) {
        const float *value = values + static_cast<long>(i) * head_dim + at;
        for (int p = 0; p < P; p++) {
            Vec part = load(value + p * LANES);
            for (int g = 0; g < G; g++) total[g][p] += part * queries[g].scores[i];
        }
    }
    for (int g = 0; g < G; g++)
        for (int p = 0; p < P; p++) store(queries[g].out + at + p * LANES, total[g][p]);
}

template <int G>
static void weigh_all(const Query *queries, const float *values, int begin, int end, int head_dim) {
    constexpr int P = LANES == 16 ? 4 : 2;
    int at = 0;
    for (; at + P * LANES <= head_dim; at += P * LANES)
        weigh<G, P>(queries, values, begin, end, head_dim, at);
    for (; at + LANES <= head_dim; at += LANES)
        weigh<G, 1>(queries, values, begin, end, head_dim, at);
    for (int g = 0; g < G; g++)
        for (int i = begin; i < end; i++)
            for (int j = at; j < head_dim; j++)
                queries[g].out[j] +=
                    queries[g].scores[i] * values[static_cast<long>(i) * head_dim + j];
}

// Scores become their softmax. The largest is subtracted first, which changes no weight and keeps
// e^x from overflowing.
static void softmax(float *scores, int count) {
    float most = *std::max_element(scores, scores + count);
    for (int i = count; i % LANES; i++) scores[i] = -INFINITY;
    Vec total = {};
    for (int i = 0; i < count; i += LANES) {
        Vec weight = exponential(load(scores + i) - most);
        store(scores + i, weight);
        total += weight;
    }
    // What fills the last vector up got e^-87, not 0.
    float share = 1.0f / sum(total);
    for (int i = 0; i < count; i++) scores[i] *= share;
}

// Attention of G queries to the keys and values (positions, head_dim) of one sequence: out = the
// values, weighed by softmax(query . keys / sqrt(head_dim)). What all look at is read once for all.
template <int G>
static void attend(const Query *queries, const float *keys, const float *values, int head_dim) {
    int begin = 0, end = queries[0].end;
    for (int g = 0; g < G; g++) {
        begin = std::max(begin, queries[g].first);
        end = std::min(end, queries[g].end);
    }
    end = std::max(begin, end);
    for (int g = 0; g < G; g++)
        score<1>(queries + g, keys, queries[g].first, std::min(begin, queries[g].end), head_dim);
    score<G>(queries, keys, begin, end, head_dim);
    for (int g = 0; g < G; g++) {
        const Query &q = queries[g];
        score<1>(&q, keys, std::max(end, q.first), q.end, head_dim);
        softmax(q.scores + q.first, q.end - q.first);
        std::fill(q.out, q.out + head_dim, 0.0f);
        weigh_all<1>(&q, values, q.first, std::min(begin, q.end), head_dim);
    }
    weigh_all<G>(queries, values, begin, end, head_dim);
    for (int g = 0; g < G; g++) {
        int rest = std::max(end, queries[g].first);
        weigh_all<1>(queries + g, values, rest, queries[g].end, head_dim);
    }
}

// The `chosen` largest of n probabilities, softmax of the logits, first the largest; experts gets
// their numbers. Divided by their sum where that is asked for.
static void choose(float *logits, int n, int chosen, bool norm_shares, int *experts, float *shares) {
    float most = *std::max_element(logits, logits + n), total = 0, sum_of_chosen = 0;
    for (int i = 0; i < n; i++) total += logits[i] = std::exp(logits[i] - most);
    for (int j = 0; j < chosen; j++) {
        experts[j] = std::max_element(logits, logits + n) - logits;
        sum_of_chosen += shares[j] = logits[experts[j]] / total;
        logits[experts[j]] = -1.0f;
    }
    for (int j = 0; norm_shares && j < chosen; j++) shares[j] /= sum_of_chosen;
}

static void add_to(float *x, const float *y, int n) {
    for (int i = 0; y && i < n; i++) x[i] += y[i];
}

// gate = silu(gate) * up, where silu(x) = x / (1 + e^-x) (SwiGLU, arXiv 2002.05202).
static void silu_times(float *gate, const float *up, int n) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        Vec x = load(gate + i);
        store(gate + i, x / (exponential(-x) + 1.0f) * load(up + i));
    }
    for (; i < n; i++) gate[i] = gate[i] / (std::exp(-gate[i]) + 1.0f) * up[i];
}

// The rows of a matrix that a thread computes, as `product_of` shares them out.
static int first_row(int rows, int thread, int threads) {
    int panels = (rows + LANES - 1) / LANES;
    return std::min(rows, static_cast<int>(static_cast<long>(panels) * thread / threads) * LANES);
}

// Rows of a panel.
extern "C" int etude_lanes() { return LANES; }

// Whether bfloat16 holds `count` float32 weights: their lower halves are zero.
extern "C" int etude_is_half(const uint32_t *weights, long count) {
    constexpr long BLOCK = 4096;
    for (long begin = 0; begin < count; begin += BLOCK) {
        uint32_t lower = 0;
        for (long i = begin; i < std::min(count, begin + BLOCK); i++) lower |= weights[i] & 0xFFFF;
        if (lower) return 0;
    }
    return 1;
}

// Fills the panels of a matrix, and its scales (room for whole panels), with weights (rows,
// columns), float32 or bfloat16.
extern "C" void etude_pack(const void *weights, int are_half, const Matrix *matrix, int threads) {
    if (are_half)
        pack(static_cast<const uint16_t *>(weights), *matrix, threads);
    else
        pack(static_cast<const float *>(weights), *matrix, threads);
}

// Runs `count` tokens through the network; their keys and values go into the cache, the logits of
// those that ask for them into logits (outputs, vocab), or their hidden states (outputs, hidden)
// where the network has no head. Tokens of one slot come in the order of
// their positions. Returns 0.
extern "C" int etude_forward(const Network *net, const Token *tokens, int count, float *logits,
                             int outputs) {
    const Network &n = *net;
    const int hidden = n.hidden, dim = n.head_dim, heads = n.heads, kv_heads = n.kv_heads;
    const int q_size = heads * dim, kv_size = kv_heads * dim, group = heads / kv_heads;
    const long row_size = static_cast<long>(n.max_length) * dim;
    // x (count, hidden) is the residual stream.
    std::vector<float> x(static_cast<long>(count) * hidden), normed(x.size());
    std::vector<float> q(static_cast<long>(count) * q_size), attended(q.size());  // (count, q_size)
    std::vector<float> k(static_cast<long>(count) * kv_size), v(k.size());  // (count, kv_size)
    // Of experts, gate, up and down are (count * chosen, ...): each token once for each of its own.
    const int pairs = n.experts ? count * n.chosen : 0;
    const long wide = std::max(static_cast<long>(count) * n.intermediate,
                               static_cast<long>(pairs) * n.expert_size);
    std::vector<float> gate(wide), up(wide);
    std::vector<float> router(static_cast<long>(count) * n.experts), shares(pairs);
    std::vector<int> experts(pairs);  // (count, chosen)
    std::vector<float> rows(static_cast<long>(pairs) * hidden), down(rows.size());
    std::vector<float> last(static_cast<long>(outputs) * hidden);  // (outputs, hidden)

    long all_seen = 0;  // positions that all heads of all tokens look at
    for (int t = 0; t < count; t++) {
        int stop = tokens[t].position + 1;
        all_seen += static_cast<long>(heads) * (n.window ? std::min(stop, n.window) : stop);
    }
    // All threads go through the layers together: products are shared out by rows of the matrix,
    // the rest by tokens (begin to end); a barrier stands where one needs what another wrote.
#pragma omp parallel num_threads(n.threads)
    {
        const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const int begin = static_cast<long>(count) * thread / threads;
        const int end = static_cast<long>(count) * (thread + 1) / threads;
        const int room = n.max_length + LANES;
        std::vector<float> scores(static_cast<long>(MOST_QUERIES) * room);
        std::vector<int> first(n.experts + 1), next(n.experts), place(pairs);
        Input in;
        auto multiply = [&](const Matrix &w, float *out, int stride, bool add = false) {
            product(w, in, out, stride, add, thread, threads);
        };
        // All experts' rows, then their sum by token. Every thread goes through all experts: each
        // product is shared out by rows of its matrix, like any other.
        auto run_experts = [&](const Layer &layer) {
            in.set(normed.data(), count, hidden);
            multiply(layer.router, router.data(), n.experts);
#pragma omp barrier
            for (int t = begin; t < end; t++)
                choose(&router[static_cast<long>(t) * n.experts], n.experts, n.chosen,
                       n.norm_shares, &experts[t * n.chosen], &shares[t * n.chosen]);
#pragma omp barrier
            // Sorted by expert, in each thread for itself; place[i] is where pair i goes.
            std::fill(first.begin(), first.end(), 0);
            for (int i = 0; i < pairs; i++) first[experts[i] + 1]++;
            for (int e = 0; e < n.experts; e++) first[e + 1] += first[e];
            std::copy(first.begin(), first.end() - 1, next.begin());
            for (int i = 0; i < pairs; i++) place[i] = next[experts[i]]++;
            for (int i = begin * n.chosen; i < end * n.chosen; i++)
                std::memcpy(&rows[static_cast<long>(place[i]) * hidden],
                            &normed[static_cast<long>(i / n.chosen) * hidden],
                            hidden * sizeof(float));
#pragma omp barrier
            const int size = n.expert_size, from = first_row(size, thread, threads);
            const int mine = first_row(size, thread + 1, threads) - from;
            for (int e = 0; e < n.experts; e++) {
                const int tokens_here = first[e + 1] - first[e];
                if (!tokens_here) continue;
                const long at = static_cast<long>(first[e]) * size;
                in.set(&rows[static_cast<long>(first[e]) * hidden], tokens_here, hidden);
                multiply(layer.experts[e].gate, &gate[at], size);
                multiply(layer.experts[e].up, &up[at], size);
                for (int t = 0; t < tokens_here; t++)
                    silu_times(&gate[at + static_cast<long>(t) * size + from],
                               &up[at + static_cast<long>(t) * size + from], mine);
            }
#pragma omp barrier
            for (int e = 0; e < n.experts; e++) {
                if (first[e + 1] == first[e]) continue;
                in.set(&gate[static_cast<long>(first[e]) * size], first[e + 1] - first[e], size);
                multiply(layer.experts[e].down, &down[static_cast<long>(first[e]) * hidden], hidden);
            }
#pragma omp barrier
            for (int i = begin * n.chosen; i < end * n.chosen; i++) {
                float *target = &x[static_cast<long>(i / n.chosen) * hidden];
                const float *made = &down[static_cast<long>(place[i]) * hidden];
                for (int j = 0; j < hidden; j++) target[j] += shares[i] * made[j];
            }
        };
        auto norm_all = [&](const float *weight) {
            for (int t = begin; t < end; t++)
                rms_norm(&x[static_cast<long>(t) * hidden], weight,
                         &normed[static_cast<long>(t) * hidden], hidden, n.epsilon);
        };
        for (int t = begin; t < end; t++)
            copy_row(n.embedding, tokens[t].id, &x[static_cast<long>(t) * hidden]);
        for (int l = 0; l < n.layers; l++) {
            const Layer &layer = n.layer[l];
            norm_all(layer.input_norm);
#pragma omp barrier
            in.set(normed.data(), count, hidden);
            multiply(layer.q, q.data(), q_size);
            multiply(layer.k, k.data(), kv_size);
            multiply(layer.v, v.data(), kv_size);
#pragma omp barrier
            for (int t = begin; t < end; t++) {
                const float *cosine = n.cosine + static_cast<long>(tokens[t].position) * dim;
                const float *sine = n.sine + static_cast<long>(tokens[t].position) * dim;
                add_to(&q[static_cast<long>(t) * q_size], layer.q_bias, q_size);
                add_to(&k[static_cast<long>(t) * kv_size], layer.k_bias, kv_size);
                add_to(&v[static_cast<long>(t) * kv_size], layer.v_bias, kv_size);
                for (int h = 0; h < heads; h++) {
                    float *query = &q[static_cast<long>(t) * q_size + h * dim];
                    if (layer.q_norm) rms_norm(query, layer.q_norm, query, dim, n.epsilon);
                    if (layer.has_rope) rotate(query, cosine, sine, dim);
                }
                for (int h = 0; h < kv_heads; h++) {
                    float *key = &k[static_cast<long>(t) * kv_size + h * dim];
                    if (layer.k_norm) rms_norm(key, layer.k_norm, key, dim, n.epsilon);
                    if (layer.has_rope) rotate(key, cosine, sine, dim);
                    long row = (static_cast<long>(l) * n.slots + tokens[t].slot) * kv_heads + h;
                    long place = row * row_size + static_cast<long>(tokens[t].position) * dim;
                    std::memcpy(n.keys + place, key, dim * sizeof(float));
                    std::memcpy(n.values + place, &v[static_cast<long>(t) * kv_size + h * dim],
                                dim * sizeof(float));
                }
            }
#pragma omp barrier
            // Causal without a mask: a token looks at the positions up to its own; `group` query
            // heads share a head of keys and values (GQA, arXiv 2305.13245). The threads share the
            // positions that are looked at evenly: later tokens of a prompt look at more.
            Query queries[MOST_QUERIES];
            int waiting = 0;
            long row = -1;  // of keys and values that the waiting queries look at
            auto attend_all = [&] {
                if (!waiting) return;
                const float *keys = n.keys + row * row_size, *values = n.values + row * row_size;
                if (waiting == 4) attend<4>(queries, keys, values, dim);
                if (waiting == 3) attend<3>(queries, keys, values, dim);
                if (waiting == 2) attend<2>(queries, keys, values, dim);
                if (waiting == 1) attend<1>(queries, keys, values, dim);
                waiting = 0;
            };
            long seen = 0;
            for (int h = 0; h < kv_heads; h++)
                for (int t = 0; t < count; t++)
                    for (int g = 0; g < group; g++) {
                        int stop = tokens[t].position + 1;
                        int oldest = n.window ? std::max(0, stop - n.window) : 0;
                        bool mine = seen * threads / all_seen == thread;
                        seen += stop - oldest;
                        if (!mine) continue;
                        long its = (static_cast<long>(l) * n.slots + tokens[t].slot) * kv_heads + h;
                        if (waiting == MOST_QUERIES || its != row) attend_all();
                        row = its;
                        long at = static_cast<long>(t) * q_size + (h * group + g) * dim;
                        queries[waiting] = {&q[at], &attended[at], &scores[waiting * room], oldest,
                                            stop};
                        waiting++;
                    }
            attend_all();
#pragma omp barrier
            // x += attended . o, the residual connection
            in.set(attended.data(), count, q_size);
            multiply(layer.o, x.data(), hidden, true);
#pragma omp barrier
            norm_all(layer.attention_norm);
#pragma omp barrier
            if (layer.experts) {
                run_experts(layer);
#pragma omp barrier
                continue;
            }
            in.set(normed.data(), count, hidden);
            multiply(layer.gate, gate.data(), n.intermediate);
            multiply(layer.up, up.data(), n.intermediate);
            // No barrier before: a thread goes on with the rows that it has just computed itself.
            int from = first_row(n.intermediate, thread, threads);
            int rows = first_row(n.intermediate, thread + 1, threads) - from;
            for (int t = 0; t < count; t++) {
                long at = static_cast<long>(t) * n.intermediate + from;
                silu_times(gate.data() + at, up.data() + at, rows);
            }
#pragma omp barrier
            in.set(gate.data(), count, n.intermediate);
            multiply(layer.down, x.data(), hidden, true);
#pragma omp barrier
        }
        for (int t = begin; t < end; t++)
            if (tokens[t].output >= 0)
                rms_norm(&x[static_cast<long>(t) * hidden], n.norm,
                         &last[static_cast<long>(tokens[t].output) * hidden], hidden, n.epsilon);
#pragma omp barrier
        // The largest matrix, (vocab, hidden), sees only the positions whose logits are wanted.
        in.set(last.data(), outputs, hidden);
        if (n.head.panels) multiply(n.head, logits, n.vocab);
    }
    if (!n.head.panels) std::copy(last.begin(), last.end(), logits);
    return 0;
}
