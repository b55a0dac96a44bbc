"""Convolution as products with a banded matrix."""

from math import ceil

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.training.numpy_engine.blocks import Array, Workspace

# Columns of output in a strip: more of them multiply more zeros, fewer copy more of the image twice.
_WIDE = 2


class Convolution:
    """Square filters at stride 1 on ``(height, width, channels, batch)``.

    The usual way copies each patch of ``kernel × kernel`` pixels into a row of a matrix: 25 times the image for a
    5×5 kernel, and then a product too thin to be fast. Here the image is cut into strips of a few columns of output.
    Any ``kernel`` rows of a strip are, as they lie in memory, a matrix ``(kernel · columns · channels, batch)``; its
    product with the band, in which the filters stand once for each column of output, each shifted by a column, is a
    whole row of the strip's output. A good half of the band is zero, and still it is several times as fast.

    Args:
        weight: ``(filters, channels, kernel, kernel)``.
        bias: ``(filters,)``.
        weight_gradient: Where the weight's gradient is put.
        bias_gradient: Likewise.
        first: Whether it sees the image itself, so that nothing asks for the gradient of what it takes.
    """

    def __init__(
        self, weight: Array, bias: Array, *, weight_gradient: Array, bias_gradient: Array, first: bool = False
    ) -> None:
        self._weight, self._bias = weight, bias
        self._weight_gradient, self._bias_gradient = weight_gradient, bias_gradient
        self._first = first
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return ``(height - kernel + 1, width - kernel + 1, filters, batch)``."""
        kernel, filters = self._weight.shape[-1], len(self._weight)
        height, width, channels, batch = taken.shape
        rows, self._columns = height - kernel + 1, width - kernel + 1
        self._strips = ceil(self._columns / _WIDE)
        self._taken_shape = taken.shape
        self._band = self._lay_band(channels)
        self._windows = self._cut(taken)
        given = self._space.take("given", (rows, self._strips * _WIDE, filters, batch), taken)
        np.matmul(self._band.T, self._windows, out=self._by_strip(given))
        given += self._bias[:, None]
        return given[:, : self._columns]

    def backward(self, gradient: Array) -> Array:
        """Return the gradient ``(height, width, channels, batch)``; for the first layer what came in."""
        gradient.sum(axis=(0, 1)).sum(axis=1, out=self._bias_gradient)
        rows = self._by_strip(self._widen(gradient))
        self._add_up_weight_gradient(rows)
        return gradient if self._first else self._send_back(rows)

    def _lay_band(self, channels: int) -> Array:
        """Write the filters into the band ``(kernel · columns · channels, wide · filters)``."""
        size = (self._weight.shape[-1] * self._strip_columns * channels, _WIDE * len(self._weight))
        band = self._space.take("band", size, self._weight)
        self._filters_in(band)[...] = self._weight[..., None]
        return band

    @property
    def _strip_columns(self) -> int:
        """Return how many columns of the image a strip has."""
        return _WIDE + self._weight.shape[-1] - 1

    def _filters_in(self, band: Array) -> Array:
        """Return the view ``(filters, channels, kernel, kernel, wide)`` of the places where filters stand in a band."""
        filters, channels, kernel, _ = self._weight.shape
        row, item = band.strides
        column = channels * row
        return as_strided(
            band,
            (filters, channels, kernel, kernel, _WIDE),
            (item, row, self._strip_columns * column, column, column + filters * item),
        )

    def _cut(self, taken: Array) -> Array:
        """Return the strips' windows ``(strips, rows, kernel · columns · channels, batch)``, each a matrix in memory."""
        height, width, channels, batch = taken.shape
        shape = (self._strips, height, self._strip_columns, channels, batch)
        strips = self._space.take("strips", shape, taken)
        for place, strip in enumerate(strips):
            piece = taken[:, place * _WIDE : place * _WIDE + self._strip_columns]
            strip[:, : piece.shape[1]] = piece
            strip[:, piece.shape[1] :] = 0
        return self._windows_of(strips)

    def _windows_of(self, strips: Array) -> Array:
        kernel = self._weight.shape[-1]
        count, height, columns, channels, batch = strips.shape
        strip, row, _, channel, item = strips.strides
        shape = (count, height - kernel + 1, kernel * columns * channels, batch)
        return as_strided(strips, shape, (strip, row, channel, item))

    def _by_strip(self, maps: Array) -> Array:
        """Return the view ``(strips, rows, wide · filters, batch)`` of ``(rows, strips · wide, filters, batch)``."""
        rows, columns, filters, batch = maps.shape
        return maps.reshape(rows, self._strips, columns // self._strips * filters, batch).swapaxes(0, 1)

    def _widen(self, gradient: Array) -> Array:
        """Return the gradient of whole strips; columns beyond the image's own have none."""
        rows, columns, filters, batch = gradient.shape
        if columns == self._strips * _WIDE and gradient.flags.c_contiguous:
            return gradient
        widened = self._space.take("widened", (rows, self._strips * _WIDE, filters, batch), gradient)
        widened[:, :columns] = gradient
        widened[:, columns:] = 0
        return widened

    def _add_up_weight_gradient(self, rows: Array) -> None:
        """Fold the band's gradient, the sum over all rows of all strips, into the filters'."""
        products = self._space.take("products", (rows.shape[1], *self._band.shape), rows)
        total = self._space.take("total", self._band.shape, rows)
        total[...] = 0
        ones = np.ones(rows.shape[1], rows.dtype)
        for row, windows in zip(rows, self._windows, strict=True):
            np.matmul(windows, row.swapaxes(1, 2), out=products)
            total += (ones @ products.reshape(len(products), -1)).reshape(total.shape)
        self._filters_in(total).sum(axis=-1, out=self._weight_gradient)

    def _send_back(self, rows: Array) -> Array:
        """Return the image's gradient: what each row of output sends to the rows and columns that it saw."""
        height, width, channels, batch = self._taken_shape
        kernel, columns, count = self._weight.shape[-1], self._strip_columns, rows.shape[1]
        sent = self._space.take("sent", (count, kernel, columns, channels, batch), rows)
        strip = self._space.take("strip", (height, columns, channels, batch), rows)
        back = self._space.take("back", (height, (self._strips - 1) * _WIDE + columns, channels, batch), rows)
        back[...] = 0
        for place, row in enumerate(rows):
            np.matmul(self._band, row, out=sent.reshape(count, -1, batch))
            strip[...] = 0
            for offset in range(kernel):
                strip[offset : offset + count] += sent[:, offset]
            back[:, place * _WIDE : place * _WIDE + columns] += strip
        return back[:, :width]
