#pragma once

// A bounds-checked walk over the fields of one protobuf message. It does not recurse and copies
// nothing; the caller opens nested messages itself.
#include <cstdint>
#include <string>
#include <string_view>

namespace cupel {

struct ProtobufField {
  enum Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
  uint32_t number = 0;
  int wire = 0;
  uint64_t value = 0;      ///< of a varint or fixed field
  std::string_view data;   ///< of a bytes field
  std::string_view whole;  ///< tag and value as they stand
};

class ProtobufMessage {
 public:
  /// `where` names the message in errors; `file` must outlive it.
  ProtobufMessage(const std::string& file, std::string where, std::string_view bytes)
      : file_(file), where_(std::move(where)), bytes_(bytes) {}

  /// The next field, false at the end. FormatError for a varint or length that overflows, a field
  /// cut short, field number 0 and wire types other than the four above (groups nest).
  bool next(ProtobufField& field);

  /// The value of `field`, which must have the wire type that its declaration gives.
  uint64_t varint(const ProtobufField& field, const char* name) const;
  float number(const ProtobufField& field, const char* name) const;
  std::string_view text(const ProtobufField& field, const char* name) const;

  [[noreturn]] void fail(const std::string& rule) const;

 private:
  uint64_t read_varint();
  std::string_view take(uint64_t size);
  void check_wire(const ProtobufField& field, int wire, const char* name) const;

  const std::string& file_;
  std::string where_;
  std::string_view bytes_;
  std::size_t at_ = 0;
};

}  // namespace cupel
