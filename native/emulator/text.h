// text.h - printf into a string.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

namespace kf {

[[gnu::format(printf, 1, 2)]] inline std::string text(const char* format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    std::string result(std::vsnprintf(nullptr, 0, format, arguments), '\0');
    std::vsnprintf(result.data(), result.size() + 1, format, again);
    va_end(again);
    va_end(arguments);
    return result;
}

}  // namespace kf
