// The layers of an 8-bit plan: shapes and packed weights, the same for every instruction set.
//
// A value is a byte q and stands for scale * (q - zero); weights are signed bytes with a scale for each output
// channel. Maps are channels last, in rows of `round_up(channels, 16)` bytes a pixel. Sums are exact in 32 bits;
// what turns them into bytes again is float32 arithmetic in one fixed order, each operation rounded by itself
// (this code is compiled without contraction), so every instruction set gives the same bits as plain numpy.
#pragma once

#include "layers.h"

namespace hswish {

constexpr long LANE = 16;  // channels in a group of packed weights

// How an instruction set multiplies bytes, which the packing of its weights follows.
struct Products {
  int offset;  // comes off every byte of a map first; the packed biases make up for it
  bool pairs;  // two products at once, of 16 bits; else four, of bytes

  // Bytes of a depthwise convolution's weights for one channel.
  constexpr long of_depthwise(long kernel) const {
    return pairs ? (kernel + 1) / 2 * kernel * 4 : kernel * round_up(kernel, 4);
  }
};

// From a sum to what it stands for, and to the byte that stands for that (hswish/spec/quantized.py):
//
//   y = float(sum) * scale[n]                                     every operation rounded to float32
//   y = y * (min(6, max(0, y + 3)) * (1 / 6))                     where h-swish follows
//   y = y + float(r - residual_zero) * residual_scale             where a residual is added
//   q = clamp(round_half_even(y * inverse) + zero, low, 255)      low = zero is ReLU
struct Rescale {
  const float* scale = nullptr;  // [n], of the products
  float inverse = 1;             // 1 / scale of the result
  float residual_scale = 0;
  int zero = 0, low = 0, residual_zero = 0;
};

// 1x1 convolution or linear layer.
struct PointwiseInt8 {
  const int8_t* weights = nullptr;  // [n / 16][quads][16][4], or [n / 16][quads][2][16][2]: pairs of even ones, of odd ones
  const int32_t* bias = nullptr;    // [n], with -zero * sum of weights taken in
  long quads = 0, n = 0;            // input channels / 4; output channels, a multiple of 16
  Rescale rescale;
};

// k x k depthwise convolution.
struct DepthwiseInt8 {
  // [channels / 16][kernel][round_up(kernel, 4) / 4][16][4]; or pairs from two rows, of 16 bits,
  // [channels / 16][(kernel + 1) / 2][kernel][16][2]
  const int8_t* weights = nullptr;
  const int32_t* bias = nullptr;
  long channels = 0, kernel = 3, stride = 1, dilation = 1;
  Rescale rescale;
};

// Stem: a full 3x3 convolution of a picture (height, width, planes) of bytes.
struct StemInt8 {
  const int8_t* weights = nullptr;  // [n / 16][3][quads][16][4] (or [2][16][2]): quads of a row's 3 * planes taps
  const int32_t* bias = nullptr;
  long planes = 3, quads = 0, n = 0, stride = 2;
  Rescale rescale;
};

// Depthwise rows [from, to) of a block, for one panel of INT8_PANEL channels.
struct BlockRowsInt8 {
  const PointwiseInt8& expand;  // quads is 0 where the block has none
  const DepthwiseInt8& depthwise;
  Act act, depthwise_act;
  Geometry geometry;
  long first;        // of the panel's channels
  const uint8_t* x;  // [height][width][x_stride]
  long x_stride;
  uint8_t* out;  // row `from`, first channel of all
  long out_stride;
  int32_t* sums;  // [channels], for squeeze-and-excitation; or null
  uint8_t* work;
  uint8_t padding;  // the byte that stands for zero in what the depthwise convolution reads
  long from, to;
};

// Multiplying a map by a gate: the map's zero and scale (times the gate's, where that is in bytes), the result's.
struct Gating {
  int from = 0;
  float scale = 1, inverse = 1;
  int zero = 0;
};

constexpr long INT8_PANEL = 2 * LANE;

}  // namespace hswish
