#include "text/protobuf.h"

#include <bit>
#include <limits>

#include "cupel/core/error.h"

namespace cupel {

void ProtobufMessage::fail(const std::string& rule) const {
  throw FormatError(file_, where_, rule);
}

uint64_t ProtobufMessage::read_varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at_ == bytes_.size()) fail("it ends inside a number; the file is cut short or damaged.");
    const auto byte = static_cast<unsigned char>(bytes_[at_++]);
    if (shift == 63 && byte > 1) break;
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail("a varint does not fit into 64 bits.");
}

std::string_view ProtobufMessage::take(uint64_t size) {
  if (size > bytes_.size() - at_) {
    fail("a field of " + std::to_string(size) + " bytes runs past the end, which is " +
         std::to_string(bytes_.size() - at_) + " bytes on; the file is cut short or damaged.");
  }
  const std::string_view part = bytes_.substr(at_, size);
  at_ += size;
  return part;
}

bool ProtobufMessage::next(ProtobufField& field) {
  if (at_ == bytes_.size()) return false;
  const std::size_t start = at_;
  const uint64_t tag = read_varint();
  if (tag > std::numeric_limits<uint32_t>::max()) fail("a field tag does not fit into 32 bits.");
  field = ProtobufField();
  field.number = static_cast<uint32_t>(tag >> 3);
  field.wire = static_cast<int>(tag & 7);
  if (field.number == 0) fail("a field has number 0; this is not a protobuf file.");
  const auto little_endian = [](std::string_view bytes) {
    uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
      value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  };
  switch (field.wire) {
    case ProtobufField::varint:
      field.value = read_varint();
      break;
    case ProtobufField::fixed64:
      field.value = little_endian(take(8));
      break;
    case ProtobufField::bytes:
      field.data = take(read_varint());
      break;
    case ProtobufField::fixed32:
      field.value = little_endian(take(4));
      break;
    default:
      fail("field " + std::to_string(field.number) + " has wire type " +
           std::to_string(field.wire) + "; SentencePiece writes 0, 1, 2 and 5 only.");
  }
  field.whole = bytes_.substr(start, at_ - start);
  return true;
}

void ProtobufMessage::check_wire(const ProtobufField& field, int wire, const char* name) const {
  if (field.wire != wire) {
    fail(std::string(name) + " must have wire type " + std::to_string(wire) + ". Got " +
         std::to_string(field.wire) + ".");
  }
}

uint64_t ProtobufMessage::varint(const ProtobufField& field, const char* name) const {
  check_wire(field, ProtobufField::varint, name);
  return field.value;
}

float ProtobufMessage::number(const ProtobufField& field, const char* name) const {
  check_wire(field, ProtobufField::fixed32, name);
  return std::bit_cast<float>(static_cast<uint32_t>(field.value));
}

std::string_view ProtobufMessage::text(const ProtobufField& field, const char* name) const {
  check_wire(field, ProtobufField::bytes, name);
  return field.data;
}

}  // namespace cupel
