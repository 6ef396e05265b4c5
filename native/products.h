// Sums of products of bytes, a map's unsigned ones by weights' signed ones: exact, in 32 bits.
//
// Processors with VNNI and ARM's multiply four pairs of bytes and add them to a sum by one instruction. The others of
// x86 would saturate at 16 bits, so bytes are widened there and two products of 16 bits added at once: weights lie in
// the order in which four bytes of a map fall apart into two pairs, the even and the odd ones.
#pragma once

#include "int8_layers.h"
#include "sixteen.h"

#if defined(__SSE2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
#define HSWISH_PAIRS
#endif

namespace hswish::HSWISH_LEVEL {

// TILE8: pixels that the matrix kernel computes at once for TILE8_VECTORS times 16 channels.
#if defined(__AVX512VNNI__)
constexpr int TILE8 = 14, TILE8_VECTORS = 2;
#elif defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int TILE8 = 3, TILE8_VECTORS = 2;
#elif defined(HSWISH_PAIRS)
constexpr int TILE8 = REGISTER / 8, TILE8_VECTORS = 1;
#else
constexpr int TILE8 = 2, TILE8_VECTORS = 2;
#endif

#if defined(HSWISH_PAIRS)

constexpr Products PRODUCTS{0, true};

// Four numbers of a map in every lane, and four weights of each of 16 channels: as pairs of 16 bits.
struct Four {
  i32x16::Part even, odd;
};
struct Weights4 {
  i32x16 even, odd;
};

static inline Four four(const uint8_t* x) {
  const Ints all = (Ints)every(take<int32_t>(x)).part[0];
  return {(i32x16::Part)(all & HSWISH_X86(set1_epi16)(255)), (i32x16::Part)HSWISH_X86(srli_epi16)(all, 8)};
}

// 16 pairs of bytes in 16 bits each.
static inline i32x16 widened_pairs(const int8_t* w) {
  i32x16 v;
#if defined(__AVX512F__)
  v.part[0] = (i32x16::Part)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)w));
#elif defined(__AVX2__)
  for (int i = 0; i < 2; i++) v.part[i] = (i32x16::Part)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(w + 16 * i)));
#else
  for (int i = 0; i < 2; i++) {
    const __m128i bytes = _mm_loadu_si128((const __m128i*)(w + 16 * i));
    v.part[2 * i] = (i32x16::Part)_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    v.part[2 * i + 1] = (i32x16::Part)_mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8);
  }
#endif
  return v;
}

static inline Weights4 weights4(const int8_t* w) { return {widened_pairs(w), widened_pairs(w + 2 * LANE)}; }

static inline i32x16::Part dot2(i32x16::Part sum, i32x16::Part a, i32x16::Part w) {
  return (i32x16::Part)HSWISH_X86(add_epi32)((Ints)sum, HSWISH_X86(madd_epi16)((Ints)a, (Ints)w));
}

// What comes next waits for these sums. (g++ would make all the products of unrolled steps first, and keep them in memory.)
template <int N>
static inline void settle(i32x16::Part (&sum)[N]) {
#pragma GCC unroll 16
  for (int i = 0; i < N; i++) asm("" : "+v"(sum[i]));
  asm volatile("" : : : "memory");
}

static inline i32x16 dot4(i32x16 sum, const Four& a, const Weights4& w) {
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) {
    sum.part[i] = dot2(sum.part[i], a.even, w.even.part[i]);
    asm("" : "+v"(sum.part[i]));  // one sum after the other: adding up products first takes more registers
    sum.part[i] = dot2(sum.part[i], a.odd, w.odd.part[i]);
  }
  return sum;
}

// A register of channels of two rows: pairs of 16 bits.
static inline i32x16::Part channels2(const uint8_t* upper, const uint8_t* lower) {
#if defined(__AVX512F__)
  const __m128i a = _mm_loadu_si128((const __m128i*)upper), b = _mm_loadu_si128((const __m128i*)lower);
  return (i32x16::Part)_mm512_cvtepu8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
#elif defined(__AVX2__)
  const __m128i both = _mm_unpacklo_epi8(_mm_cvtsi64_si128(take<int64_t>(upper)), _mm_cvtsi64_si128(take<int64_t>(lower)));
  return (i32x16::Part)_mm256_cvtepu8_epi16(both);
#else
  const __m128i both = _mm_unpacklo_epi8(_mm_cvtsi32_si128(take<int32_t>(upper)), _mm_cvtsi32_si128(take<int32_t>(lower)));
  return (i32x16::Part)_mm_unpacklo_epi8(both, _mm_setzero_si128());
#endif
}

// sum[c] + what four pixels of 16 channels, `apart` bytes from one to the next, have in channel c.
static inline i32x16 sum4(i32x16 sum, const uint8_t* x, long apart) {
  const i32x16::Part ones = every(0x00010001).part[0];
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++, x += LANE / PARTS)
    sum.part[i] = dot2(dot2(sum.part[i], channels2(x, x + apart), ones), channels2(x + 2 * apart, x + 3 * apart), ones);
  return sum;
}

#else

// ARM's instructions multiply signed bytes only, so there 128 comes off every byte.
#if defined(HSWISH_NEON)
constexpr Products PRODUCTS{128, false};
#else
constexpr Products PRODUCTS{0, false};
#endif

// Four numbers of a map in every lane, and four weights of each of 16 channels.
typedef i32x16 Four;
typedef i32x16 Weights4;

static inline Four four(const uint8_t* x) { return every(take<int32_t>(x)); }
static inline Weights4 weights4(const int8_t* w) { return take<i32x16>(w); }

// sum[c] + (a[c][0] - offset) * w[c][0] + ... + (a[c][3] - offset) * w[c][3].
static inline i32x16 dot4(i32x16 sum, const i32x16& a, const i32x16& w) {
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) {
    i32x16::Part& s = sum.part[i];
#if defined(__AVX512VNNI__)
    s = (i32x16::Part)_mm512_dpbusd_epi32((Ints)s, (Ints)a.part[i], (Ints)w.part[i]);
#elif defined(__AVXVNNI__)
    s = (i32x16::Part)_mm256_dpbusd_avx_epi32((Ints)s, (Ints)a.part[i], (Ints)w.part[i]);
#elif defined(HSWISH_NEON)
    const int8x16_t x = (int8x16_t)(a.part[i] ^ static_cast<int32_t>(0x80808080)), y = (int8x16_t)w.part[i];
#if defined(__ARM_FEATURE_DOTPROD)
    s = vdotq_s32(s, x, y);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    s = vaddq_s32(s, vpaddq_s32(low, vpaddlq_s16(vmull_high_s8(x, y))));
#endif
#else
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) s += ((a.part[i] >> (8 * j)) & 255) * ((w.part[i] << (24 - 8 * j)) >> 24);
#endif
  }
  return sum;
}

// Four columns of 16 channels, `apart` bytes from one to the next, as the quads that dot4 takes.
static inline i32x16 columns4(const uint8_t* x, long apart) {
  i32x16 v;
#if defined(__AVX512F__)
  __m512i columns;
  if (apart == 16) {
    columns = _mm512_loadu_si512(x);
  } else {
    columns = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)x));
    columns = _mm512_inserti32x4(columns, _mm_loadu_si128((const __m128i*)(x + apart)), 1);
    columns = _mm512_inserti32x4(columns, _mm_loadu_si128((const __m128i*)(x + 2 * apart)), 2);
    columns = _mm512_inserti32x4(columns, _mm_loadu_si128((const __m128i*)(x + 3 * apart)), 3);
  }
#if defined(__AVX512VBMI__)
  alignas(64) static constexpr uint8_t places[64] = {
      0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51, 4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23, 39, 55,
      8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
  v.part[0] = (i32x16::Part)_mm512_permutexvar_epi8(_mm512_load_si512(places), columns);
#else
  // Four channels of the four columns side by side, then turned.
  columns = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), columns);
  const __m128i turn = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  v.part[0] = (i32x16::Part)_mm512_shuffle_epi8(columns, _mm512_broadcast_i32x4(turn));
#endif
#elif defined(__AVX2__)
  __m256i a, b;
  if (apart == 16) {
    a = _mm256_loadu_si256((const __m256i*)x), b = _mm256_loadu_si256((const __m256i*)(x + 32));
  } else {
    a = _mm256_loadu2_m128i((const __m128i*)(x + apart), (const __m128i*)x);
    b = _mm256_loadu2_m128i((const __m128i*)(x + 3 * apart), (const __m128i*)(x + 2 * apart));
  }
  // Four channels of columns 0, 2, 1, 3 side by side, then turned.
  const __m128i turn = _mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
  const __m256i both = _mm256_broadcastsi128_si256(turn);
  const __m256i low = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(a, b), 0xD8);
  const __m256i high = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(a, b), 0xD8);
  v.part[0] = (i32x16::Part)_mm256_shuffle_epi8(low, both);
  v.part[1] = (i32x16::Part)_mm256_shuffle_epi8(high, both);
#elif defined(HSWISH_NEON)
  uint8x16_t c[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) c[i] = vld1q_u8(x + i * apart);
  const uint16x8_t a = (uint16x8_t)vzip1q_u8(c[0], c[1]), b = (uint16x8_t)vzip2q_u8(c[0], c[1]);
  const uint16x8_t d = (uint16x8_t)vzip1q_u8(c[2], c[3]), e = (uint16x8_t)vzip2q_u8(c[2], c[3]);
  v.part[0] = (i32x16::Part)vzip1q_u16(a, d);
  v.part[1] = (i32x16::Part)vzip2q_u16(a, d);
  v.part[2] = (i32x16::Part)vzip1q_u16(b, e);
  v.part[3] = (i32x16::Part)vzip2q_u16(b, e);
#else
  alignas(64) uint8_t quads[64];
  for (int c = 0; c < 16; c++)
    for (int i = 0; i < 4; i++) quads[4 * c + i] = x[i * apart + c];
  v = take<i32x16>(quads);
#endif
  return v;
}

// sum[c] + what four pixels of 16 channels, `apart` bytes from one to the next, have in channel c.
static inline i32x16 sum4(const i32x16& sum, const uint8_t* x, long apart) {
  return dot4(sum + 4 * PRODUCTS.offset, columns4(x, apart), every(0x01010101));
}

#endif

}  // namespace hswish::HSWISH_LEVEL
