// Compiled once for each instruction set, with -DHSWISH_LEVEL=name and the compiler's flags for it, and
// without contraction of products and sums: the results are defined to the bit.
#include "int8_kernels.h"

#include "int8_block.h"
#include "int8_pointwise.h"

namespace hswish {
namespace HSWISH_LEVEL {

static void pointwise_bytes(const PointwiseInt8& op, Act act, long first, const uint8_t* x, long x_stride, uint8_t* out,
                            long out_stride, const uint8_t* residual, long residual_stride, long pixels) {
  const BytesOut to{out + first, out_stride, LANE, residual ? residual + first : nullptr, residual_stride};
  if (residual) return int8_pointwise<Act::none, true>(op, first, x, x_stride, to, pixels);
  if (act == Act::hard_swish) return int8_pointwise<Act::hard_swish, false>(op, first, x, x_stride, to, pixels);
  return int8_pointwise<Act::none, false>(op, first, x, x_stride, to, pixels);  // relu is in `low`
}

static void pointwise_floats(const PointwiseInt8& op, Act act, long first, const uint8_t* x, long x_stride, float* out,
                             long out_stride, long pixels) {
  const FloatsOut to{out + first, out_stride};
  if (act == Act::relu) return int8_pointwise<Act::relu, false>(op, first, x, x_stride, to, pixels);
  if (act == Act::hard_swish) return int8_pointwise<Act::hard_swish, false>(op, first, x, x_stride, to, pixels);
  return int8_pointwise<Act::none, false>(op, first, x, x_stride, to, pixels);
}

static void int8_block_rows(const BlockRowsInt8& op, long& made) {
  (op.depthwise.kernel == 3 ? int8_block_rows_of<3> : int8_block_rows_of<5>)(op, made);
}

template <int MR, Act act>
static void int8_stem_tile(const StemInt8& op, const uint8_t* const* rows, long column, long channel, uint8_t* out) {
  i32x16 sum[MR][1];
  const i32x16 b = take<i32x16>(op.bias + channel);
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++) sum[m][0] = b;
  const int8_t* w = op.weights + channel * 3 * op.quads * 4;
  const long step = op.stride * op.planes;
  for (int ky = 0; ky < 3; ky++) {
    const uint8_t* x = rows[ky] + column * step;
    for (long k = 0; k < op.quads; k++, w += 4 * LANE, x += 4) {
      const Weights4 row = weights4(w);
#pragma GCC unroll 16
      for (int m = 0; m < MR; m++) sum[m][0] = dot4(sum[m][0], four(x + m * step), row);
    }
  }
  const BytesOut to{out + column * op.n + channel, op.n, LANE, nullptr, 0};
  to.finish<act, false, MR, 1>(sum, op.rescale, op.rescale.scale + channel);
}

template <Act act>
static void int8_stem_row_of(const StemInt8& op, const uint8_t* const* rows, long columns, uint8_t* out) {
  for (long channel = 0; channel < op.n; channel += LANE) {
    long column = 0;
    if constexpr (TILE8 > 4)
      for (; column + 12 <= columns; column += 12) int8_stem_tile<12, act>(op, rows, column, channel, out);
    for (; column + 4 <= columns; column += 4) int8_stem_tile<4, act>(op, rows, column, channel, out);
    for (; column < columns; column++) int8_stem_tile<1, act>(op, rows, column, channel, out);
  }
}

static void int8_stem_row(const StemInt8& op, Act act, const uint8_t* const* rows, long columns, uint8_t* out) {
  (act == Act::hard_swish ? int8_stem_row_of<Act::hard_swish> : int8_stem_row_of<Act::none>)(op, rows, columns, out);
}

// 64 channels of a pixel, or what is left of them, at a time.
static void gate_bytes(const uint8_t* x, const float* gate, const Gating& g, long channels, long pixels, uint8_t* out) {
  const auto gated = [&](const uint8_t* from, const float* by) {
    const i32x16 q = widened(from) - g.from;
    return (to_floats(q) * take<f32x16>(by)) * g.scale;
  };
  for (long p = 0; p < pixels; p++, x += channels, out += channels) {
    long c = 0;
    for (; c + 4 * LANE <= channels; c += 4 * LANE) {
      f32x16 v[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) v[i] = gated(x + c + i * LANE, gate + c + i * LANE);
      put4(out + c, LANE, bytes4(v, g.inverse, g.zero, 0), 4);
    }
    for (; c < channels; c += LANE) {
      const f32x16 v = gated(x + c, gate + c), alone[4] = {v, v, v, v};
      put4(out + c, LANE, bytes4(alone, g.inverse, g.zero, 0), 1);
    }
  }
}

static void sum_bytes(const uint8_t* x, long channels, long pixels, int32_t* sums) {
  for (long c = 0; c < channels; c += LANE) {
    i32x16 total = take<i32x16>(sums + c);
    long p = 0;
    for (; p + 4 <= pixels; p += 4) total = sum4(total, x + p * channels + c, channels);
    for (; p < pixels; p++) total = total + widened(x + p * channels + c);
    put(sums + c, total);
  }
}

// Pictures of three channels in blocks of 64 bytes, each through the table of the channel that it belongs to.
static void look_up(const uint8_t* x, const uint8_t* table, long planes, long pixels, uint8_t* out) {
  long i = 0, c = 0;
  const long n = pixels * planes;
#if defined(__AVX512VBMI__)
  if (planes == 3) {
    __m512i tables[3][4];
    for (int p = 0; p < 3; p++)
      for (int k = 0; k < 4; k++) tables[p][k] = _mm512_loadu_si512(table + p * 256 + k * 64);
    const __mmask64 every_third = 0x9249249249249249;  // bytes 0, 3, 6, ...
    for (; i + 64 <= n; i += 64) {
      const __m512i at = _mm512_loadu_si512(x + i);
      const __mmask64 high = _mm512_movepi8_mask(at);
      __m512i found = at;
      for (int p = 0; p < 3; p++) {
        const int shift = static_cast<int>((p - i % 3 + 3) % 3);
        const __m512i low = _mm512_permutex2var_epi8(tables[p][0], at, tables[p][1]);
        const __m512i value = _mm512_mask_mov_epi8(low, high, _mm512_permutex2var_epi8(tables[p][2], at, tables[p][3]));
        found = _mm512_mask_mov_epi8(found, every_third << shift, value);
      }
      _mm512_storeu_si512(out + i, found);
    }
    c = i % 3;
  }
#else
  // A pixel is one store of four bytes, of which the next pixel has the last.
  if (planes == 3)
    for (; i + 4 <= n; i += 3) {
      const uint32_t pixel = table[x[i]] | table[256 + x[i + 1]] << 8 | table[512 + x[i + 2]] << 16;
      std::memcpy(out + i, &pixel, 4);
    }
#endif
  for (; i < n; i++) {
    out[i] = table[c * 256 + x[i]];
    if (++c == planes) c = 0;
  }
}

static void to_bytes(const float* x, float inverse, int zero, long n, uint8_t* out) {
  // Far values clamp in any case, and what is no number becomes the smallest.
  const auto clamped = [&](const float* from) {
    return min(every(1048576.0f), max(take<f32x16>(from) * inverse, every(-1048576.0f)));
  };
  long i = 0;
  for (; i + 4 * LANE <= n; i += 4 * LANE) {
    f32x16 v[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) v[j] = clamped(x + i + j * LANE);
    put4(out + i, LANE, bytes4(v, 1.0f, zero, 0), 4);
  }
  for (; i < n; i += LANE) {
    const f32x16 v = clamped(x + i), alone[4] = {v, v, v, v};
    put4(out + i, LANE, bytes4(alone, 1.0f, zero, 0), 1);
  }
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const Int8Kernels int8_table = {
    TEXT(HSWISH_LEVEL), PRODUCTS,      pointwise_bytes, pointwise_floats, int8_block_rows, int8_block_work,
    int8_stem_row,      gate_bytes,    sum_bytes,       to_bytes,         look_up,
};

}  // namespace HSWISH_LEVEL
}  // namespace hswish
