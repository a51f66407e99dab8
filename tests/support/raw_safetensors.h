#pragma once

#include <cstdint>
#include <string>

namespace cupel::test {

/// `length` as safetensors writes it: 8 bytes, little-endian.
inline std::string length_prefix(uint64_t length) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes;
}

/// A file of the header as given and `data`; nothing is checked or padded.
inline std::string raw_safetensors(const std::string& header, const std::string& data = "") {
  return length_prefix(header.size()) + header + data;
}

/// Header text of one tensor: "name":{"dtype":...}.
inline std::string entry(const std::string& name, const std::string& dtype,
                         const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

}  // namespace cupel::test
