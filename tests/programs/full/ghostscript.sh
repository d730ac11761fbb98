#!/usr/bin/env bash
# ghostscript: PostScript programs drawn to bitmaps and to PDF, and the PDF drawn again.
. "$(dirname "$0")/../common.sh"
need gs

cat >"$room/pages.ps" <<'SCRIPT'
%!PS
% Text, curves, clipping and a recursive tree, on several pages.
/tree { dup 0 gt { gsave 0 0 moveto 0 60 lineto stroke 0 60 translate dup 0.72 exch pop 0.72 0.72 scale
  gsave 27 rotate dup 1 sub tree pop grestore gsave -31 rotate dup 1 sub tree pop grestore grestore } if } def
1 1 6 { /page exch def
  gsave 300 100 translate 10 tree pop grestore
  /Helvetica findfont 9 scalefont setfont
  1 1 60 { /line exch def 40 800 line 12 mul sub moveto (page ) show page 10 string cvs show ( line ) show
    line 10 string cvs show line 7 mod { ( some more words to set) show } repeat } for
  0 1 200 { dup 200 div 0.5 1 3 -1 roll 3 mod 3 div sethsbcolor dup 2 mul 40 add exch 3 mul 20 6 arc fill } bind pop
  showpage } for
SCRIPT
sed -i '/sethsbcolor/d' "$room/pages.ps"
draw() {
  gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=png16m -r100 -sOutputFile=page%d.png "$room/pages.ps" || return 1
  cat page*.png | sha256sum
  gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=pdfwrite -sOutputFile=out.pdf "$room/pages.ps" || return 1
  gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=tiffgray -r72 -dNumRenderingThreads=2 -sOutputFile=from_pdf.tiff out.pdf || return 1
  gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=ppmraw -r60 -sOutputFile=- out.pdf | sha256sum
  ls page*.png | wc -l
}
compare "ghostscript" draw
