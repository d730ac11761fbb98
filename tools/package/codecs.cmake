# Purpose: makes one object file of the functions of LZ4 and zstd that src/swap/compressor.cc uses, out of the static
# libraries that the system's packages offer. Sets WEIR_CODECS_OBJECT, and compiles compressor.cc with the right names.
#
# Linking those libraries in the ordinary way would have three faults that this one object has not:
#  * they contain calls of malloc, which in a drop-in malloc must never be reached from the fault path: here these calls are
#    bound to a function that ends the process with a message;
#  * a program with an LZ4 or zstd of its own would clash with the one in libweir.a, or take the place of the one in
#    libweir.so: here the functions have names of weir's own, and all others are local;
#  * users of libweir.a would have to find and link the same libraries.
set(WEIR_CODEC_FUNCTIONS
    LZ4_compress_fast_extState LZ4_decompress_safe LZ4_sizeofState
    ZSTD_estimateCCtxSize_usingCParams ZSTD_estimateDCtxSize ZSTD_getCParams ZSTD_isError
    ZSTD_initStaticCCtx ZSTD_CCtx_setParameter ZSTD_compress2
    ZSTD_initStaticDCtx ZSTD_DCtx_setParameter ZSTD_decompressDCtx)

find_library(WEIR_LZ4_ARCHIVE NAMES liblz4.a)
find_library(WEIR_ZSTD_ARCHIVE NAMES libzstd.a)
find_path(WEIR_LZ4_INCLUDE lz4.h)
find_path(WEIR_ZSTD_INCLUDE zstd.h)
foreach(found WEIR_LZ4_ARCHIVE WEIR_ZSTD_ARCHIVE WEIR_LZ4_INCLUDE WEIR_ZSTD_INCLUDE)
  if(NOT ${found})
    message(FATAL_ERROR "LZ4 or zstd is missing (${found}): install their development packages with the static "
                        "libraries (Debian: liblz4-dev libzstd-dev), or set ${found}")
  endif()
endforeach()

set(wanted_symbols)
set(kept_symbols)
set(renames)
set(definitions)
foreach(function ${WEIR_CODEC_FUNCTIONS})
  list(APPEND wanted_symbols -u ${function})
  list(APPEND kept_symbols --keep-global-symbol=${function})
  list(APPEND renames --redefine-sym ${function}=weir_${function})
  list(APPEND definitions ${function}=weir_${function})
endforeach()
# Tracing hooks are weak: no program is to define them for us, and the dynamic linker need not look for them
# (src/swap/compressor.cc has empty ones).
foreach(function ZSTD_trace_compress_begin ZSTD_trace_compress_end ZSTD_trace_decompress_begin ZSTD_trace_decompress_end)
  list(APPEND renames --redefine-sym ${function}=weir_${function})
endforeach()
foreach(function malloc calloc free)
  list(APPEND renames --redefine-sym ${function}=weir_codec_allocates_${function})
endforeach()

# The archives change with the system, not with a build: made when CMake runs, and again when they are newer.
set(WEIR_CODECS_OBJECT ${PROJECT_BINARY_DIR}/codecs/weir_codecs.o)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/codecs)
execute_process(COMMAND ${CMAKE_LINKER} -r --gc-sections -o ${PROJECT_BINARY_DIR}/codecs/linked.o ${wanted_symbols}
                        ${WEIR_LZ4_ARCHIVE} ${WEIR_ZSTD_ARCHIVE} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_OBJCOPY} --strip-debug ${kept_symbols} ${PROJECT_BINARY_DIR}/codecs/linked.o
                        ${PROJECT_BINARY_DIR}/codecs/local.o COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_OBJCOPY} ${renames} ${PROJECT_BINARY_DIR}/codecs/local.o ${WEIR_CODECS_OBJECT}
                COMMAND_ERROR_IS_FATAL ANY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${WEIR_LZ4_ARCHIVE} ${WEIR_ZSTD_ARCHIVE})
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/swap/compressor.cc PROPERTIES
  COMPILE_DEFINITIONS "${definitions}"
  INCLUDE_DIRECTORIES "${WEIR_LZ4_INCLUDE};${WEIR_ZSTD_INCLUDE}")
