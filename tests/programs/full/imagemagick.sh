#!/usr/bin/env bash
# ImageMagick: images made, blurred, resized, compressed and read back, with OpenMP threads.
. "$(dirname "$0")/../common.sh"
convert=$(command -v convert-im6.q16 || command -v magick) || skip "ImageMagick is not installed"

use_imagemagick() {
  local format
  "$convert" -size 1200x900 -seed 7 plasma:red-blue base.miff || return 1
  "$convert" base.miff -blur 0x6 -resize 60% -rotate 17 -colorspace Gray -format '%# %wx%h\n' -write turned.miff info:
  for format in png jpg tiff gif bmp; do
    "$convert" turned.miff "image.$format" || return 1
    "$convert" "image.$format" -format "$format %# %wx%h %k\n" info:
  done
  "$convert" -size 200x200 xc:white -fill none -stroke black -draw 'circle 100,100 100,20' -distort Polar 0 \
    -format '%#\n' info:
  "$convert" -delay 5 base.miff -resize 200x150 -duplicate 20 -coalesce -layers optimize animation.gif &&
    "$convert" animation.gif -format '%# ' info: | sha256sum
}
compare "ImageMagick" use_imagemagick
