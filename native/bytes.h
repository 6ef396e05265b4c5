// The 8-bit kernels' arithmetic: sums of four products, and from sums to bytes.
//
// Written once for sixteen channels at a time (sixteen.h); what the processors have instructions for is said in those.
// Everything is exact or rounded as defined in int8_layers.h, so that the variants agree to the bit.
#pragma once

#include "int8_layers.h"
#include "sixteen.h"

namespace hswish::HSWISH_LEVEL {

// 4 pixels of 16 channels, as registers hold them.
struct u8x64 {
  typedef uint8_t Part __attribute__((vector_size(REGISTER)));
  Part part[PARTS];
};

// TILE8: pixels that the matrix kernel computes at once for two vectors of channels.
#if defined(__AVX512VNNI__)
constexpr int TILE8 = 14;
#elif defined(__AVX512F__)
constexpr int TILE8 = 8;
#elif defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int TILE8 = 3;
#else
constexpr int TILE8 = 2;
#endif

// sum[c] + (a[c][0] - OFFSET) * w[c][0] + ... + (a[c][3] - OFFSET) * w[c][3]: unsigned bytes by signed ones.
// ARM's instructions multiply signed bytes only, so there 128 comes off every byte (see Int8Kernels::offset).
#if defined(HSWISH_NEON)
constexpr int OFFSET = 128;
#else
constexpr int OFFSET = 0;
#endif
static inline i32x16 dot4(i32x16 sum, const i32x16& a, const i32x16& w) {
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) {
    i32x16::Part& s = sum.part[i];
#if defined(__AVX512VNNI__)
    s = (i32x16::Part)_mm512_dpbusd_epi32((Ints)s, (Ints)a.part[i], (Ints)w.part[i]);
#elif defined(__AVXVNNI__)
    s = (i32x16::Part)_mm256_dpbusd_avx_epi32((Ints)s, (Ints)a.part[i], (Ints)w.part[i]);
#elif defined(__SSE2__)
    // Pairs of 16-bit products; the instruction for 8 bits would saturate.
    const Ints x = (Ints)a.part[i], y = (Ints)w.part[i];
    const Ints even = HSWISH_X86(madd_epi16)((Ints)(x & HSWISH_X86(set1_epi16)(255)),
                                             HSWISH_X86(srai_epi16)(HSWISH_X86(slli_epi16)(y, 8), 8));
    const Ints odd = HSWISH_X86(madd_epi16)(HSWISH_X86(srli_epi16)(x, 8), HSWISH_X86(srai_epi16)(y, 8));
    s = (i32x16::Part)HSWISH_X86(add_epi32)((Ints)s, HSWISH_X86(add_epi32)(even, odd));
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

// sum[c] + a[c][0] + ... + a[c][3].
static inline i32x16 sum4(const i32x16& sum, const i32x16& a) { return dot4(sum + 4 * OFFSET, a, every(0x01010101)); }

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
#elif defined(__SSE2__)
  __m128i c[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) c[i] = _mm_loadu_si128((const __m128i*)(x + i * apart));
  const __m128i a = _mm_unpacklo_epi8(c[0], c[1]), b = _mm_unpackhi_epi8(c[0], c[1]);
  const __m128i d = _mm_unpacklo_epi8(c[2], c[3]), e = _mm_unpackhi_epi8(c[2], c[3]);
  v.part[0] = (i32x16::Part)_mm_unpacklo_epi16(a, d);
  v.part[1] = (i32x16::Part)_mm_unpackhi_epi16(a, d);
  v.part[2] = (i32x16::Part)_mm_unpacklo_epi16(b, e);
  v.part[3] = (i32x16::Part)_mm_unpackhi_epi16(b, e);
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

// What a sum stands for, activation included: see Rescale. (ReLU is done on the bytes.)
template <Act act>
static inline f32x16 rescaled(const i32x16& sum, const f32x16& scale) {
  const f32x16 y = to_floats(sum) * scale;
  if constexpr (act == Act::hard_swish) return y * (min(every(6.0f), max(every(0.0f), y + 3.0f)) * (1.0f / 6.0f));
  return y;
}

// Four pixels of 16 channels to bytes: clamp(round_half_even(y * inverse) + zero, low, 255); |y * inverse| < 2^30.
static inline u8x64 bytes4(const f32x16* y, float inverse, int zero, int low) {
  u8x64 bytes;
#if defined(__SSE2__)
  const Ints z = HSWISH_X86(set1_epi16)(static_cast<short>(zero)), least = HSWISH_X86(set1_epi8)(static_cast<char>(low));
  Ints i[4 * PARTS];
#pragma GCC unroll 16
  for (int p = 0; p < 4 * PARTS; p++) i[p] = HSWISH_X86(cvtps_epi32)((Floats)(y[p / PARTS].part[p % PARTS] * inverse));
#pragma GCC unroll 4
  for (int p = 0; p < PARTS; p++) {
    // Saturating at 16 bits and then at 8 clamps as one step would.
    const Ints a = HSWISH_X86(adds_epi16)(HSWISH_X86(packs_epi32)(i[4 * p], i[4 * p + 1]), z);
    const Ints b = HSWISH_X86(adds_epi16)(HSWISH_X86(packs_epi32)(i[4 * p + 2], i[4 * p + 3]), z);
    Ints q = HSWISH_X86(max_epu8)(HSWISH_X86(packus_epi16)(a, b), least);
    // Packs go by parts of 16 bytes.
#if defined(__AVX512F__)
    q = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), q);
#elif defined(__AVX2__)
    q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
#endif
    bytes.part[p] = (u8x64::Part)q;
  }
#elif defined(HSWISH_NEON)
  const int16x8_t z = vdupq_n_s16(static_cast<int16_t>(zero));
#pragma GCC unroll 4
  for (int p = 0; p < 4; p++) {
    int32x4_t i[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) i[j] = vcvtnq_s32_f32(y[p].part[j] * inverse);
    const int16x8_t a = vqaddq_s16(vcombine_s16(vqmovn_s32(i[0]), vqmovn_s32(i[1])), z);
    const int16x8_t b = vqaddq_s16(vcombine_s16(vqmovn_s32(i[2]), vqmovn_s32(i[3])), z);
    const uint8x16_t q = vcombine_u8(vqmovun_s16(a), vqmovun_s16(b));
    bytes.part[p] = (u8x64::Part)vmaxq_u8(q, vdupq_n_u8(static_cast<uint8_t>(low)));
  }
#else
  for (int p = 0; p < 4; p++) {
    // Adding 1.5 * 2^23 rounds a float to an integer, halves to even, and leaves it in the low bits.
    const f32x16 near = min(every(1048576.0f), max(every(-1048576.0f), y[p] * inverse)) + 12582912.0f;
    for (int c = 0; c < 16; c++) {
      const int32_t q = ((i32x16::Part)near.part[c / 4])[c % 4] - 0x4B400000 + zero;
      bytes.part[p][c] = static_cast<uint8_t>(q < low ? low : q > 255 ? 255 : q);
    }
  }
#endif
  return bytes;
}

// The first `count` pixels, `stride` bytes apart.
static inline void put4(uint8_t* out, long stride, const u8x64& q, long count) {
  if (stride == 16 && count == 4) return put(out, q);
#if defined(__AVX512F__)
  const __m512i v = (__m512i)q.part[0];
  _mm_storeu_si128((__m128i*)out, _mm512_castsi512_si128(v));
  if (count > 1) _mm_storeu_si128((__m128i*)(out + stride), _mm512_extracti32x4_epi32(v, 1));
  if (count > 2) _mm_storeu_si128((__m128i*)(out + 2 * stride), _mm512_extracti32x4_epi32(v, 2));
  if (count > 3) _mm_storeu_si128((__m128i*)(out + 3 * stride), _mm512_extracti32x4_epi32(v, 3));
#elif defined(__AVX2__)
#pragma GCC unroll 2
  for (long p = 0; p < 4; p += 2, out += 2 * stride) {
    const __m256i v = (__m256i)q.part[p / 2];
    if (count > p) _mm_storeu_si128((__m128i*)out, _mm256_castsi256_si128(v));
    if (count > p + 1) _mm_storeu_si128((__m128i*)(out + stride), _mm256_extracti128_si256(v, 1));
  }
#else
#pragma GCC unroll 4
  for (long p = 0; p < 4; p++)
    if (count > p) put(out + p * stride, q.part[p]);
#endif
}

}  // namespace hswish::HSWISH_LEVEL
