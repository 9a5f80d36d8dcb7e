# RelativePaths.cmake - copies PTX from INPUT to OUTPUT; its line tables then name sources relative to ROOT, the toolkit's headers as cuda/...
# So the same sources give the same PTX wherever they lie.
file(READ ${INPUT} text)
string(REPLACE "\"${ROOT}/" "\"" text "${text}")
string(REGEX REPLACE "\"[^\"\n]*/bin/\\.\\./(targets/[^/]*/)?include/" "\"cuda/" text "${text}")
file(WRITE ${OUTPUT} "${text}")
