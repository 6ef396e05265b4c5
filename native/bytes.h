// Vectors of 16 channels for the 8-bit kernels: sums of four products, and from sums to bytes.
//
// Written once in the compiler's vector types, which it splits where a register is narrower than 64 bytes;
// what the processors have instructions for is said in those. Everything is exact or rounded as defined in
// int8_layers.h, so that the variants agree to the bit.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#include <cstring>

#include "int8_layers.h"

namespace hswish::HSWISH_LEVEL {

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x64 __attribute__((vector_size(64)));  // 4 pixels of 16 channels

// TILE8: pixels that the matrix kernel computes at once for two vectors of channels.
#if defined(__AVX512VNNI__)
constexpr int TILE8 = 14;
#elif defined(__AVX2__)
constexpr int TILE8 = 3;
#else
constexpr int TILE8 = 2;
#endif

template <class V>
static inline V take(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}

template <class V>
static inline void put(void* p, V v) {
  std::memcpy(p, &v, sizeof(V));
}

static inline i32x16 every(int32_t x) { return x - i32x16{}; }
static inline f32x16 every(float x) { return x - f32x16{}; }

// 16 bytes as integers.
static inline i32x16 widened(const uint8_t* x) {
#if defined(__AVX512F__)
  return (i32x16)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)x));
#elif defined(__AVX2__)
  union { __m256i half[2]; i32x16 v; } u{{_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)x)),
                                         _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(x + 8)))}};
  return u.v;
#else
  return __builtin_convertvector(take<u8x16>(x), i32x16);
#endif
}

// sum[c] + (a[c][0] - OFFSET) * w[c][0] + ... + (a[c][3] - OFFSET) * w[c][3]: unsigned bytes by signed ones.
// ARM's instruction multiplies signed bytes only, so there 128 comes off every byte (see Int8Kernels::offset).
#if defined(__ARM_FEATURE_DOTPROD)
constexpr int OFFSET = 128;
#else
constexpr int OFFSET = 0;
#endif
static inline i32x16 dot4(i32x16 sum, i32x16 a, i32x16 w) {
#if defined(__AVX512VNNI__)
  return (i32x16)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)w);
#elif defined(__AVX2__)
  // Pairs of 16-bit products; the 8-bit instruction would saturate.
  const __m256i low = _mm256_set1_epi16(255);
  union { i32x16 v; __m256i half[2]; } s{sum}, x{a}, y{w};
  for (int i = 0; i < 2; i++) {
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x.half[i], low),
                                           _mm256_srai_epi16(_mm256_slli_epi16(y.half[i], 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x.half[i], 8), _mm256_srai_epi16(y.half[i], 8));
    s.half[i] = _mm256_add_epi32(s.half[i], _mm256_add_epi32(even, odd));
  }
  return s.v;
#elif defined(__ARM_FEATURE_DOTPROD)
  union { i32x16 v; int32x4_t part[4]; int8x16_t bytes[4]; } s{sum}, x{a ^ static_cast<int32_t>(0x80808080)}, y{w};
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) s.part[i] = vdotq_s32(s.part[i], x.bytes[i], y.bytes[i]);
  return s.v;
#else
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) sum += ((a >> (8 * i)) & 255) * ((w << (24 - 8 * i)) >> 24);
  return sum;
#endif
}

// sum[c] + a[c][0] + ... + a[c][3].
static inline i32x16 sum4(i32x16 sum, i32x16 a) { return dot4(sum + 4 * OFFSET, a, every(0x01010101)); }

// Four columns of 16 channels, `apart` bytes from one to the next, as the quads that dot4 takes.
static inline i32x16 columns4(const uint8_t* x, long apart) {
#if defined(__AVX512VBMI__)
  alignas(64) static constexpr uint8_t places[64] = {
      0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51, 4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23, 39, 55,
      8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
  __m512i v;
  if (apart == 16) {
    v = _mm512_loadu_si512(x);
  } else {
    v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)x));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(x + apart)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(x + 2 * apart)), 2);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(x + 3 * apart)), 3);
  }
  return (i32x16)_mm512_permutexvar_epi8(_mm512_load_si512(places), v);
#elif defined(__SSE2__)
  __m128i c[4];
  for (int i = 0; i < 4; i++) c[i] = _mm_loadu_si128((const __m128i*)(x + i * apart));
  const __m128i a = _mm_unpacklo_epi8(c[0], c[1]), b = _mm_unpackhi_epi8(c[0], c[1]);
  const __m128i d = _mm_unpacklo_epi8(c[2], c[3]), e = _mm_unpackhi_epi8(c[2], c[3]);
  union { __m128i part[4]; i32x16 v; } u{{_mm_unpacklo_epi16(a, d), _mm_unpackhi_epi16(a, d), _mm_unpacklo_epi16(b, e), _mm_unpackhi_epi16(b, e)}};
  return u.v;
#else
  i32x16 v{};
  for (int i = 0; i < 4; i++) v |= widened(x + i * apart) << (8 * i);
  return v;
#endif
}

static inline f32x16 max(f32x16 a, f32x16 b) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}
static inline f32x16 min(f32x16 a, f32x16 b) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_min_ps((__m512)a, (__m512)b);
#else
  return a < b ? a : b;
#endif
}

// What a sum stands for, activation included: see Rescale. (ReLU is done on the bytes.)
template <Act act>
static inline f32x16 rescaled(i32x16 sum, f32x16 scale) {
  const f32x16 y = __builtin_convertvector(sum, f32x16) * scale;
  if constexpr (act == Act::hard_swish) return y * (min(every(6.0f), max(f32x16{}, y + 3.0f)) * (1.0f / 6.0f));
  return y;
}

// Four pixels of 16 channels to bytes: clamp(round_half_even(y * inverse) + zero, low, 255); |y * inverse| < 2^30.
static inline u8x64 bytes4(const f32x16* y, float inverse, int zero, int low) {
#if defined(__AVX512VNNI__)
  const __m512i z = _mm512_set1_epi16(static_cast<short>(zero));
  __m512i i[4];
#pragma GCC unroll 4
  for (int p = 0; p < 4; p++) i[p] = _mm512_cvtps_epi32((__m512)(y[p] * inverse));
  // Saturating at 16 bits and then at 8 clamps as one step would.
  const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(i[0], i[1]), z);
  const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(i[2], i[3]), z);
  const __m512i q = _mm512_max_epu8(_mm512_packus_epi16(a, b), _mm512_set1_epi8(static_cast<char>(low)));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return (u8x64)_mm512_permutexvar_epi32(order, q);
#else
  union { u8x16 pixel[4]; u8x64 all; } u;
  for (int p = 0; p < 4; p++) {
    // Adding 1.5 * 2^23 rounds a float to an integer, halves to even, and leaves it in the low bits.
    const f32x16 near = min(every(1048576.0f), max(every(-1048576.0f), y[p] * inverse)) + 12582912.0f;
    i32x16 q;
    std::memcpy(&q, &near, sizeof q);
    q += zero - 0x4B400000;
    q = q < low ? every(low) : q;
    q = q > 255 ? every(255) : q;
    u.pixel[p] = __builtin_convertvector(q, u8x16);
  }
  return u.all;
#endif
}

// The first `count` pixels, `stride` bytes apart.
static inline void put4(uint8_t* out, long stride, u8x64 q, long count) {
#if defined(__AVX512VNNI__)
  const __m512i v = (__m512i)q;
  if (stride == 16 && count == 4) return _mm512_storeu_si512(out, v);
  _mm_storeu_si128((__m128i*)out, _mm512_castsi512_si128(v));
  if (count > 1) _mm_storeu_si128((__m128i*)(out + stride), _mm512_extracti32x4_epi32(v, 1));
  if (count > 2) _mm_storeu_si128((__m128i*)(out + 2 * stride), _mm512_extracti32x4_epi32(v, 2));
  if (count > 3) _mm_storeu_si128((__m128i*)(out + 3 * stride), _mm512_extracti32x4_epi32(v, 3));
#else
  union { u8x64 all; u8x16 pixel[4]; } u{q};
  for (long p = 0; p < count; p++) put(out + p * stride, u.pixel[p]);
#endif
}

}  // namespace hswish::HSWISH_LEVEL
