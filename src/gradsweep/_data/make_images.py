"""Cut the small data set of cat and other pictures that ships with gradsweep.

The script needs scikit-image, whose wheel holds the pictures, and h5py. It is kept beside its
result so that everyone can see how ``images.h5`` came about; it is no part of the wheel.

Run it as ``python make_images.py OUTPUT``. Two runs with the same versions of scikit-image, Pillow,
NumPy, SciPy and h5py write the same bytes.
"""

import argparse
import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 64
SEED = 2017
# Multiples of three keep black and white exact (255 = 3 * 85), cannot be told from the full
# range by eye at this size, and make the compressed file a third shorter.
STEP = 3
# A crop whose brightness hardly varies shows bare sky or table, from which nothing can be learnt.
SMALLEST_DEVIATION = 12.0


class Picture(NamedTuple):
    """One picture in the scikit-image wheel and what is to be cut from it.

    Attributes
    ----------
    name : str
        Function of ``skimage.data`` that returns the picture.
    label : int
        1 for a cat, 0 for anything else.
    crops : int
        How many crops to cut.
    smallest : int
        Shortest side of a crop, in pixels of the picture. The longest is the picture's height.
    landmarks : tuple of (int, int)
        Row and column of points; a crop shows at least two of them when there are any.
    credit : str
        Subject, author, origin and licence.
    """

    name: str
    label: int
    crops: int
    smallest: int
    landmarks: tuple[tuple[int, int], ...]
    credit: str


PICTURES = (
    Picture(
        "chelsea",
        1,
        72,
        130,
        # The two eyes and the nose: a crop of fur alone would be a cat in name only.
        ((116, 171), (136, 318), (245, 262)),
        "Chelsea the cat; photograph by Stefan van der Walt; origin: the photographer; licence: CC0 1.0",
    ),
    Picture(
        "astronaut",
        0,
        40,
        110,
        (),
        "Portrait of the astronaut Eileen Collins; photograph by NASA; origin: https://flic.kr/p/r9qvLn; licence: public domain",
    ),
    Picture(
        "coffee",
        0,
        36,
        110,
        (),
        "Cup of coffee, courtesy of Pikolo Espresso Bar; photograph by Rachel Michetti; "
        "origin: the photographer; licence: CC0 1.0",
    ),
    Picture(
        "rocket",
        0,
        36,
        110,
        (),
        "Falcon 9 with DSCOVR before its launch; photograph by SpaceX; "
        "origin: https://www.flickr.com/photos/spacexphotos/16511594820/; licence: public domain",
    ),
    Picture(
        "retina",
        0,
        25,
        350,
        (),
        "Human retina, left eye; photograph by Mikael Häggström; origin: "
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg; "
        "licence: CC0 1.0",
    ),
)


def cut(picture: Picture, image: NDArray[np.uint8], resize: Any, generator: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Cut square crops at drawn places and scales and shrink them.

    Parameters
    ----------
    picture : Picture
        What to cut.
    image : ndarray of uint8, shape (height, width, 3)
        Pixels of the picture.
    resize : callable
        ``skimage.transform.resize``.
    generator : numpy.random.Generator
        Source of places, sides and mirrorings.

    Returns
    -------
    list of ndarray of uint8, shape (64, 64, 3)
        The crops, every second one mirrored, with values that are multiples of ``STEP``.
    """
    height, width = image.shape[:2]
    crops: list[NDArray[np.uint8]] = []
    while len(crops) < picture.crops:
        side = int(generator.integers(picture.smallest, min(height, width) + 1))
        top = int(generator.integers(0, height - side + 1))
        left = int(generator.integers(0, width - side + 1))
        shown = sum(top <= row < top + side and left <= column < left + side for row, column in picture.landmarks)
        if picture.landmarks and shown < 2:
            continue
        crop = image[top : top + side, left : left + side]
        small = resize(crop, (SIDE, SIDE), anti_aliasing=True, preserve_range=True)
        if small.mean(axis=2).std() < SMALLEST_DEVIATION:
            continue
        if len(crops) % 2:
            small = small[:, ::-1]
        crops.append(np.clip(np.rint(small / STEP) * STEP, 0, 255).astype(np.uint8))
    return crops


def main() -> None:
    """Write the data set to the path given on the command line."""
    parser = argparse.ArgumentParser(description="Cut the images that ship with gradsweep.")
    parser.add_argument("output", help="HDF5 file to write")
    output = parser.parse_args().output

    # Neither package is needed to check the types of this file, so neither is imported by name.
    h5py: Any = importlib.import_module("h5py")
    skimage: Any = importlib.import_module("skimage")
    pictures: Any = importlib.import_module("skimage.data")
    resize: Any = importlib.import_module("skimage.transform").resize

    generator = np.random.default_rng(SEED)
    crops: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[bytes] = []
    for picture in PICTURES:
        image = getattr(pictures, picture.name)()
        crops += cut(picture, image, resize, generator)
        labels += [picture.label] * picture.crops
        names += [picture.name.encode()] * picture.crops
    order = generator.permutation(len(crops))
    images = np.stack(crops)[order]

    with h5py.File(output, "w") as file:
        file.create_dataset(
            "train_set_x",
            data=images,
            # One chunk per image lets a reader fetch single rows. The shuffle filter is left out
            # because elements of one byte have no bytes to reorder.
            chunks=(1, *images.shape[1:]),
            compression="gzip",
            compression_opts=9,
            # A modification time would make two runs differ.
            track_times=False,
        )
        for name, values in (
            ("train_set_y", np.array(labels, dtype=np.int64)[order]),
            ("list_classes", np.array([b"non-cat", b"cat"])),
            ("source", np.array(names)[order]),
        ):
            file.create_dataset(name, data=values, track_times=False)
        file.attrs["title"] = "Cat and other pictures, 209 crops of 64 by 64 pixels"
        file.attrs["licence"] = (
            "Every picture is CC0 1.0 or in the public domain (see the attribute sources); the crops add no restriction."
        )
        file.attrs["sources"] = "\n".join(f"{picture.name}: {picture.credit}" for picture in PICTURES)
        file.attrs["scikit_image_version"] = skimage.__version__


if __name__ == "__main__":
    main()
