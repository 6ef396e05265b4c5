// The 8-bit kernels' arithmetic after the sums: from sums to bytes.
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
