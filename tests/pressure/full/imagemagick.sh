#!/usr/bin/env bash
# ImageMagick: an image of 80 MiB made, blurred, rotated and resized, with OpenMP threads.
. "$(dirname "$0")/../common.sh"
convert=$(command -v convert-im6.q16 || command -v magick) || skip "ImageMagick is not installed"

use_imagemagick() {
  "$limited" "$convert" -size 3600x2800 -seed 7 plasma:red-blue -blur 0x3 -rotate 90 -colorspace HSL -modulate 100,80,120 \
    -colorspace sRGB -write info: -resize 50% -depth 8 rgb:pixels || return 1
  sha256sum <pixels
}
use_imagemagick_stripped() { use_imagemagick | sed -E 's/^([^ ]+ [^ ]+ [^ ]+).*sRGB.*/\1/'; }
compare_limited "ImageMagick" use_imagemagick_stripped
