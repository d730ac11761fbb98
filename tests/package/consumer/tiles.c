/* tiles.c: an example: a viewer keeps tiles of an image, which come and go, as objects with handles, so that there is
 * room for a whole page in the end, although what is free lies in small gaps between the tiles.
 * Run it in little address space: WEIR_CONF=arena_size=64M tiles
 * With extfrag_threshold=1000 as well nothing is moved for it, and the page does not fit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/movable.h>

enum { kTile = 20 << 10, kTiles = 2000, kPage = 16 << 20 };

static weir_movable_t tiles[kTiles];

/* Drawn by its number, so that it can be told whether it is still the same. */
static int draw(int i) {
  tiles[i] = weir_movable_alloc(kTile);
  if (tiles[i] == NULL) return 0;
  memset(weir_movable_pin(tiles[i]), i % 251, kTile);
  weir_movable_unpin(tiles[i]);
  return 1;
}

static int is_intact(int i) {
  const unsigned char* pixels = weir_movable_pin(tiles[i]);
  int intact = 1;
  for (int at = 0; at < kTile; ++at) intact &= pixels[at] == i % 251;
  weir_movable_unpin(tiles[i]);
  return intact;
}

int main(void) {
  for (int i = 0; i < kTiles; ++i)
    if (!draw(i)) return 1;
  /* Every other one is out of sight. */
  for (int i = 1; i < kTiles; i += 2) weir_movable_free(tiles[i]);
  char* page = malloc(kPage);
  if (page == NULL) {
    puts("a page of 16 MiB fits nowhere");
    return 2;
  }
  memset(page, 255, kPage);
  for (int i = 0; i < kTiles; i += 2)
    if (!is_intact(i)) return 3;
  puts("a page of 16 MiB found its place, and the tiles are what they were");
  free(page);
  return 0;
}
