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
    5×5 kernel, and then a product too thin to be fast. Here the image is cut into strips, each as broad as two columns
    of output need. Any ``kernel`` rows of a strip are, as they lie in memory, a matrix
    ``(kernel · columns · channels, batch)``; the product of the band with it is a whole row of the strip's output. In
    the band, ``(kernel · columns · channels, 2 · filters)``, the filters stand once for each column of output, each
    time a column further on; the sixth of it that is left is zero.

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
        filters, channels, self._kernel, _ = weight.shape
        self._seen: int = _WIDE + self._kernel - 1
        self._band = np.zeros((self._kernel * self._seen * channels, _WIDE * filters), weight.dtype)

    def forward(self, taken: Array) -> Array:
        """Return ``(height - kernel + 1, width - kernel + 1, filters, batch)``."""
        height, width, _, batch = self._taken_shape = taken.shape
        rows, columns = height - self._kernel + 1, width - self._kernel + 1
        self._strips = ceil(columns / _WIDE)
        self._windows = self._cut(taken)
        self._filters_in(self._band)[...] = self._weight[..., None]
        given = self._space.take("given", (rows, self._strips * _WIDE, len(self._weight), batch), taken)
        np.matmul(self._band.T, self._windows, out=_by_strip(given))
        given += self._bias[:, None]
        return given[:, :columns]

    def backward(self, gradient: Array) -> Array:
        """Return the gradient ``(height, width, channels, batch)``; for the first layer what came in."""
        gradient.sum(axis=(0, 1)).sum(axis=1, out=self._bias_gradient)
        rows = _by_strip(self._fill_strips(gradient))
        self._add_up_weight_gradient(rows)
        return gradient if self._first else self._send_back(rows)

    def _cut(self, taken: Array) -> Array:
        """Return the strips' windows ``(strips, rows, kernel · columns · channels, batch)``, matrices as they lie."""
        height, _, channels, batch = taken.shape
        strips = self._space.take("strips", (self._strips, height, self._seen, channels, batch), taken)
        for place, strip in enumerate(strips):
            piece = taken[:, place * _WIDE : place * _WIDE + self._seen]
            strip[:, : piece.shape[1]] = piece
            strip[:, piece.shape[1] :] = 0
        shape = (self._strips, height - self._kernel + 1, len(self._band), batch)
        strip, row, _, channel, item = strips.strides
        return as_strided(strips, shape, (strip, row, channel, item))

    def _filters_in(self, band: Array) -> Array:
        """Return the view ``(filters, channels, kernel, kernel, 2)`` of the places where filters stand in a band."""
        filters, channels, kernel, _ = self._weight.shape
        row, item = band.strides
        column = channels * row
        strides = (item, row, self._seen * column, column, column + filters * item)
        return as_strided(band, (filters, channels, kernel, kernel, _WIDE), strides)

    def _fill_strips(self, gradient: Array) -> Array:
        """Return the gradient of whole strips; a column beyond the image's own has none."""
        rows, columns, filters, batch = gradient.shape
        if columns == self._strips * _WIDE:
            return gradient
        filled = self._space.take("filled", (rows, self._strips * _WIDE, filters, batch), gradient)
        filled[:, :columns] = gradient
        filled[:, columns:] = 0
        return filled

    def _add_up_weight_gradient(self, rows: Array) -> None:
        """Fold the band's gradient, the sum over all rows of all strips, into the filters'."""
        products = self._space.take("products", (rows.shape[1], *self._band.shape), rows)
        total, ones = np.zeros_like(self._band), np.ones(rows.shape[1], rows.dtype)
        for row, windows in zip(rows, self._windows, strict=True):
            np.matmul(windows, row.swapaxes(1, 2), out=products)
            total += (ones @ products.reshape(len(products), -1)).reshape(total.shape)
        self._filters_in(total).sum(axis=-1, out=self._weight_gradient)

    def _send_back(self, rows: Array) -> Array:
        """Return the image's gradient: what each row of output sends to the rows and columns that it saw."""
        height, width, channels, batch = self._taken_shape
        count = rows.shape[1]
        sent = self._space.take("sent", (count, self._kernel, self._seen, channels, batch), rows)
        strip = self._space.take("strip", (height, self._seen, channels, batch), rows)
        back = self._space.take("back", (height, width + _WIDE - 1, channels, batch), rows)
        back[...] = 0
        for place, row in enumerate(rows):
            np.matmul(self._band, row, out=sent.reshape(count, -1, batch))
            strip[...] = 0
            for offset in range(self._kernel):
                strip[offset : offset + count] += sent[:, offset]
            back[:, place * _WIDE : place * _WIDE + self._seen] += strip
        return back[:, :width]


def _by_strip(maps: Array) -> Array:
    """Return the view ``(strips, rows, 2 · filters, batch)`` of ``(rows, strips · 2, filters, batch)``."""
    rows, columns, filters, batch = maps.shape
    return maps.reshape(rows, columns // _WIDE, _WIDE * filters, batch).swapaxes(0, 1)
