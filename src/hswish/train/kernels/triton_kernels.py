"""The kernels of training on a GPU, in Triton: each reads its maps once and writes at most one.

Maps are (N, H, W, C) in memory and seen here as (pixels, C). A program has a tile of them: BLOCK_P
pixels by BLOCK_C channels. Channels are told in eighths: so the compiler knows that eight neighbours can be
loaded at once. Sums over all pixels are made in chunks, one for each program, which `moments_end` and
`gradients_end` add up in a fixed order: equal runs are equal bit for bit.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _place(pixel, channel, channels):
    """Where the numbers of a tile are; indices of pixels have 32 bits, for they are divided, places have 64."""
    return pixel.to(tl.int64)[:, None] * channels + channel[None, :]


# ---------------------------------------------------------------- depthwise convolution


@triton.jit
def depthwise(
    x, taps, out, pixels, height, width, out_height, out_width, eighths,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, PADDING: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out[n, i, j, c] = sum over (u, v) of taps[u, v, c] x[n, i s + u d - p, j s + v d - p, c]"""
    channels = eighths * 8
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    column = pixel % out_width
    row = (pixel // out_width) % out_height
    picture = pixel // (out_width * out_height)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for u in range(KERNEL):  # not unrolled: fewer registers, more programs at once
        y = row * STRIDE + u * DILATION - PADDING
        for v in tl.static_range(KERNEL):
            z = column * STRIDE + v * DILATION - PADDING
            inside = (pixel < pixels) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            place = ((picture * height + y) * width + z).to(tl.int64) * channels
            tap = tl.load(taps + (u * KERNEL + v) * channels + channel, inside_c, other=0.0)
            value = tl.load(x + place[:, None] + channel[None, :], inside[:, None] & inside_c[None, :], other=0.0)
            total += value.to(tl.float32) * tap[None, :]
    mask = (pixel < pixels)[:, None] & inside_c[None, :]
    tl.store(out + _place(pixel, channel, channels), total.to(out.dtype.element_ty), mask)


@triton.jit
def depthwise_input(
    gradient, taps, out, pixels, height, width, out_height, out_width, eighths,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, PADDING: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradient of `depthwise`'s x: every output that the pixel had a part in, times that part."""
    channels = eighths * 8
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    column = pixel % width
    row = (pixel // width) % height
    picture = pixel // (width * height)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for u in range(KERNEL):  # not unrolled: fewer registers, more programs at once
        far_y = row + PADDING - u * DILATION
        y = far_y // STRIDE
        for v in tl.static_range(KERNEL):
            far_z = column + PADDING - v * DILATION
            z = far_z // STRIDE
            inside = (pixel < pixels) & (far_y >= 0) & (y < out_height) & (far_z >= 0) & (z < out_width)
            if STRIDE > 1:
                inside = inside & (far_y % STRIDE == 0) & (far_z % STRIDE == 0)
            place = ((picture * out_height + y) * out_width + z).to(tl.int64) * channels
            tap = tl.load(taps + (u * KERNEL + v) * channels + channel, inside_c, other=0.0)
            mask = inside[:, None] & inside_c[None, :]
            value = tl.load(gradient + place[:, None] + channel[None, :], mask, other=0.0)
            total += value.to(tl.float32) * tap[None, :]
    mask = (pixel < pixels)[:, None] & inside_c[None, :]
    tl.store(out + _place(pixel, channel, channels), total.to(out.dtype.element_ty), mask)


@triton.jit
def depthwise_weights(
    gradient, x, sums, pixels, height, width, out_height, out_width, eighths, tiles,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, PADDING: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """sums[chunk, c, u, v] = sum over a chunk of `tiles` tiles of gradient[n, i, j, c] x[n, i s + u d - p, ...].

    A program has one row u of the taps: the chunk's gradient is read for each row, from the cache.
    """
    channels = eighths * 8
    chunk = tl.program_id(2)
    u = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    total0 = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total1 = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total2 = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total3 = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total4 = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tile in range(tiles):
        pixel = (chunk * tiles + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        column = pixel % out_width
        row = (pixel // out_width) % out_height
        picture = pixel // (out_width * out_height)
        y = row * STRIDE + u * DILATION - PADDING
        inside_y = (pixel < pixels) & (y >= 0) & (y < height)
        place = gradient + _place(pixel, channel, channels)
        slope = tl.load(place, inside_y[:, None] & inside_c[None, :], other=0.0).to(tl.float32)
        for v in tl.static_range(KERNEL):
            z = column * STRIDE + v * DILATION - PADDING
            mask = (inside_y & (z >= 0) & (z < width))[:, None] & inside_c[None, :]
            start = ((picture * height + y) * width + z).to(tl.int64) * channels
            part = slope * tl.load(x + start[:, None] + channel[None, :], mask, other=0.0).to(tl.float32)
            if v == 0:
                total0 += part
            elif v == 1:
                total1 += part
            elif v == 2:
                total2 += part
            elif v == 3:
                total3 += part
            else:
                total4 += part
    place = sums + (chunk * channels + channel) * (KERNEL * KERNEL) + u * KERNEL
    tl.store(place, tl.sum(total0, 0), inside_c)
    tl.store(place + 1, tl.sum(total1, 0), inside_c)
    tl.store(place + 2, tl.sum(total2, 0), inside_c)
    if KERNEL == 5:
        tl.store(place + 3, tl.sum(total3, 0), inside_c)
        tl.store(place + 4, tl.sum(total4, 0), inside_c)


# ---------------------------------------------------------------- batch norm and non-linearity


@triton.jit
def moments(x, sums, pixels, eighths, tiles, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """sums[chunk, 0, c] and sums[chunk, 1, c]: of x and of its square."""
    channels = eighths * 8
    chunk = tl.program_id(1)
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    first = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    second = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tile in range(tiles):
        pixel = (chunk * tiles + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (pixel < pixels)[:, None] & inside_c[None, :]
        value = tl.load(x + _place(pixel, channel, channels), mask, other=0.0).to(tl.float32)
        first += value
        second += value * value
    tl.store(sums + (chunk * 2) * channels + channel, tl.sum(first, 0), inside_c)
    tl.store(sums + (chunk * 2 + 1) * channels + channel, tl.sum(second, 0), inside_c)


@triton.jit
def _of_all_chunks(sums, chunks, channel, channels, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr):
    """Both sums (C,) over all chunks of sums (chunks, 2, C), in float64."""
    first = tl.zeros((BLOCK_K, BLOCK_C), tl.float64)
    second = tl.zeros((BLOCK_K, BLOCK_C), tl.float64)
    for start in range(0, chunks, BLOCK_K):
        chunk = start + tl.arange(0, BLOCK_K)
        mask = (chunk < chunks)[:, None] & (channel < channels)[None, :]
        place = sums + chunk[:, None] * 2 * channels + channel[None, :]
        first += tl.load(place, mask, other=0.0).to(tl.float64)
        second += tl.load(place + channels, mask, other=0.0).to(tl.float64)
    return tl.sum(first, 0), tl.sum(second, 0)


@triton.jit
def moments_end(
    sums, gamma, beta, running_mean, running_var, kept, chunks, count, eighths, momentum, eps,
    BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From the sums of all chunks to kept = (scale, shift, mean, 1 / deviation), (4, C); running moments follow."""
    channels = eighths * 8
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    first, second = _of_all_chunks(sums, chunks, channel, channels, BLOCK_K, BLOCK_C)
    mean = first / count
    var = second / count - mean * mean
    var = tl.where(var > 0, var, 0.0)
    inverse = 1.0 / tl.sqrt(var + eps)
    scale = tl.load(gamma + channel, inside_c, other=0.0).to(tl.float64) * inverse
    shift = tl.load(beta + channel, inside_c, other=0.0).to(tl.float64) - mean * scale
    tl.store(kept + channel, scale.to(tl.float32), inside_c)
    tl.store(kept + channels + channel, shift.to(tl.float32), inside_c)
    tl.store(kept + 2 * channels + channel, mean.to(tl.float32), inside_c)
    tl.store(kept + 3 * channels + channel, inverse.to(tl.float32), inside_c)
    unbiased = var * (count / tl.maximum(count - 1, 1))
    old_mean = tl.load(running_mean + channel, inside_c, other=0.0)
    old_var = tl.load(running_var + channel, inside_c, other=0.0)
    tl.store(running_mean + channel, old_mean + momentum * (mean.to(tl.float32) - old_mean), inside_c)
    tl.store(running_var + channel, old_var + momentum * (unbiased.to(tl.float32) - old_var), inside_c)


@triton.jit
def _act(z, ACT: tl.constexpr):
    if ACT == 1:
        z = tl.maximum(z, 0.0)
    elif ACT == 2:
        z = z * tl.minimum(tl.maximum(z + 3.0, 0.0), 6.0) / 6.0
    return z


@triton.jit
def _slope(z, ACT: tl.constexpr):
    """The derivative of the non-linearity, as torch has it at the corners."""
    if ACT == 1:
        slope = tl.where(z > 0, 1.0, 0.0)
    elif ACT == 2:
        slope = tl.where(z <= -3.0, 0.0, tl.where(z < 3.0, z / 3.0 + 0.5, 1.0))
    else:
        slope = z * 0.0 + 1.0
    return slope


@triton.jit
def affine(x, kept, out, pixels, eighths, ACT: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """out = act(scale x + shift)"""
    channels = eighths * 8
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    mask = (pixel < pixels)[:, None] & inside_c[None, :]
    place = _place(pixel, channel, channels)
    scale = tl.load(kept + channel, inside_c, other=0.0)
    shift = tl.load(kept + channels + channel, inside_c, other=0.0)
    z = tl.load(x + place, mask, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
    tl.store(out + place, _act(z, ACT).to(out.dtype.element_ty), mask)


@triton.jit
def affine_sums(
    gradient, x, kept, sums, pixels, eighths, tiles,
    ACT: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """sums[chunk, 0, c] and sums[chunk, 1, c]: of dz, the gradient before the non-linearity, and of dz (x - mean)."""
    channels = eighths * 8
    chunk = tl.program_id(1)
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    scale = tl.load(kept + channel, inside_c, other=0.0)
    shift = tl.load(kept + channels + channel, inside_c, other=0.0)
    mean = tl.load(kept + 2 * channels + channel, inside_c, other=0.0)
    first = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    second = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tile in range(tiles):
        pixel = (chunk * tiles + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (pixel < pixels)[:, None] & inside_c[None, :]
        place = _place(pixel, channel, channels)
        value = tl.load(x + place, mask, other=0.0).to(tl.float32)
        slope = _slope(value * scale[None, :] + shift[None, :], ACT)
        dz = tl.load(gradient + place, mask, other=0.0).to(tl.float32) * slope
        first += dz
        second += dz * (value - mean[None, :])
    tl.store(sums + (chunk * 2) * channels + channel, tl.sum(first, 0), inside_c)
    tl.store(sums + (chunk * 2 + 1) * channels + channel, tl.sum(second, 0), inside_c)


@triton.jit
def gradients_end(
    sums, kept, of_gamma, of_beta, line, chunks, count, eighths,
    BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From the sums of all chunks to the gradients of gamma and beta, and to line = (slope, offset), (2, C):
    dx = scale dz + slope x + offset."""
    channels = eighths * 8
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    first, second = _of_all_chunks(sums, chunks, channel, channels, BLOCK_K, BLOCK_C)
    scale = tl.load(kept + channel, inside_c, other=0.0).to(tl.float64)
    mean = tl.load(kept + 2 * channels + channel, inside_c, other=0.0).to(tl.float64)
    inverse = tl.load(kept + 3 * channels + channel, inside_c, other=0.0).to(tl.float64)
    beta = first
    gamma = second * inverse
    slope = -scale * gamma * inverse / count
    offset = -scale * beta / count - slope * mean
    tl.store(of_gamma + channel, gamma.to(tl.float32), inside_c)
    tl.store(of_beta + channel, beta.to(tl.float32), inside_c)
    tl.store(line + channel, slope.to(tl.float32), inside_c)
    tl.store(line + channels + channel, offset.to(tl.float32), inside_c)


@triton.jit
def affine_input(
    gradient, x, kept, line, out, pixels, eighths,
    ACT: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = scale dz + slope x + offset"""
    channels = eighths * 8
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_c = channel < channels
    mask = (pixel < pixels)[:, None] & inside_c[None, :]
    place = _place(pixel, channel, channels)
    scale = tl.load(kept + channel, inside_c, other=0.0)
    shift = tl.load(kept + channels + channel, inside_c, other=0.0)
    slope = tl.load(line + channel, inside_c, other=0.0)
    offset = tl.load(line + channels + channel, inside_c, other=0.0)
    value = tl.load(x + place, mask, other=0.0).to(tl.float32)
    dz = tl.load(gradient + place, mask, other=0.0).to(tl.float32)
    dz = dz * _slope(value * scale[None, :] + shift[None, :], ACT)
    dx = scale[None, :] * dz + slope[None, :] * value + offset[None, :]
    tl.store(out + place, dx.to(out.dtype.element_ty), mask)
