"""Reading images where one stands, as decoders do in processes of their own."""

from core.datasets.images import read_array
from core.errors import InvalidError


def read_arrays(files, **wanted):
    """Yield the pixels of each file, or why there are none."""
    for data in files:
        try:
            yield read_array(data, **wanted)
        except InvalidError as error:
            yield error


def read_one(read, data, **wanted):
    """Return the pixels of a file by what reads many; raise why there are none."""
    (found,) = read([data], **wanted)
    if isinstance(found, InvalidError):
        raise found
    return found
