#include "cupel/core/file.h"

#include "support/catch.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using cupel::AtomicFile;
using cupel::InputFile;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;
using Names = std::vector<std::string>;

namespace {

/// Lowers the largest file this process may write, for as long as the object lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit lower{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &lower);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int) = nullptr;
};

/// The id of a process that has ended.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("InputFile: bytes are read at any offset", "[core]") {
  const TemporaryFolder folder;
  const InputFile file(folder.write("a", "0123456789"));
  CHECK(file.size() == 10);
  std::string part(4, ' ');
  file.read(3, part.data(), 4);
  CHECK(part == "3456");
  file.read(10, part.data(), 0);
  CHECK(part == "3456");
}

TEST_CASE("InputFile: reading past the end is a FormatError", "[core]") {
  const TemporaryFolder folder;
  const InputFile file(folder.write("a", "0123456789"));
  char buffer[16];
  require_format_error([&] { file.read(8, buffer, 3); }, "/a", "truncated");
  require_format_error([&] { file.read(11, buffer, 0); }, "/a", "truncated");
  require_format_error([&] { file.read(~uint64_t{0}, buffer, 2); }, "/a", "truncated");
}

TEST_CASE("InputFile: a file cut short while open is a FormatError", "[core]") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a", "0123456789");
  const InputFile file(path);
  std::filesystem::resize_file(path, 4);
  char buffer[16];
  file.read(0, buffer, 4);
  require_format_error([&] { file.read(2, buffer, 6); }, "/a", "truncated");
}

TEST_CASE("InputFile: what is no regular file is refused without blocking", "[core]") {
  const TemporaryFolder folder;
  require_format_error([&] { InputFile(folder.file("none")); }, "/none", "No such file");
  require_format_error([&] { InputFile(folder.path()); }, folder.path(), "folder");
  REQUIRE(::mkfifo(folder.file("pipe").c_str(), 0600) == 0);
  require_format_error([&] { InputFile(folder.file("pipe")); }, "/pipe", "not a regular file");
  require_format_error([] { InputFile("/dev/zero"); }, "/dev/zero", "not a regular file");
  const std::string nul = folder.write("a", "text") + std::string("\0.bin", 5);
  require_format_error([&] { InputFile{nul}; }, "/a\\x00.bin", "NUL");
}

TEST_CASE("InputFile: links to regular files are followed", "[core]") {
  const TemporaryFolder folder;
  folder.write("a", "text");
  std::filesystem::create_symlink("a", folder.file("link"));
  CHECK(cupel::read_file(folder.file("link")) == "text");
  std::filesystem::create_symlink("gone", folder.file("dangling"));
  require_format_error([&] { InputFile(folder.file("dangling")); }, "/dangling", "No such file");
}

TEST_CASE("InputFile: a moved file goes on reading", "[core]") {
  const TemporaryFolder folder;
  InputFile first(folder.write("a", "aaaa")), second(folder.write("b", "bb"));
  InputFile third(std::move(first));
  second = std::move(third);
  std::string text(4, ' ');
  second.read(0, text.data(), 4);
  CHECK(text == "aaaa");
  CHECK(second.size() == 4);
  CHECK_THROWS_AS(first.read(0, text.data(), 1), std::invalid_argument);
}

TEST_CASE("read_file: the limit is inclusive", "[core]") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a", std::string("x\0y", 3));
  CHECK(cupel::read_file(path, 3) == std::string("x\0y", 3));
  require_format_error([&] { cupel::read_file(path, 2); }, "/a", "too large");
  CHECK(cupel::read_file(folder.write("empty", "")).empty());
}

TEST_CASE("AtomicFile: the file appears whole at commit and no temporary stays", "[core]") {
  const TemporaryFolder folder;
  AtomicFile file(folder.file("a"));
  file.write("one ");
  file.write("two");
  CHECK_FALSE(std::filesystem::exists(folder.file("a")));
  file.commit();
  CHECK(folder.read("a") == "one two");
  CHECK(folder.names() == Names{"a"});
  CHECK_THROWS_AS(file.commit(), std::invalid_argument);
  CHECK_THROWS_AS(file.write("more"), std::invalid_argument);
}

TEST_CASE("AtomicFile: without commit the old file stays and no temporary does", "[core]") {
  const TemporaryFolder folder;
  folder.write("a", "old");
  {
    AtomicFile file(folder.file("a"));
    file.write("new");
    CHECK(folder.names().size() == 2);
  }
  CHECK(folder.read("a") == "old");
  CHECK(folder.names() == Names{"a"});
}

TEST_CASE("AtomicFile: write_at fills a place and write goes on where it was", "[core]") {
  const TemporaryFolder folder;
  AtomicFile file(folder.file("a"));
  file.write("head");
  file.write_at(8, "tail", 4);
  file.write("body");
  file.commit();
  CHECK(folder.read("a") == "headbodytail");
  CHECK_THROWS_AS(file.write_at(0, "x", 1), std::invalid_argument);
}

TEST_CASE("AtomicFile: a reader keeps the file it opened", "[core]") {
  const TemporaryFolder folder;
  const InputFile old(folder.write("a", "old"));
  cupel::write_file(folder.file("a"), "brand new");
  std::string text(3, ' ');
  old.read(0, text.data(), 3);
  CHECK(text == "old");
  CHECK(folder.read("a") == "brand new");
}

TEST_CASE("AtomicFile: a failed write leaves the old file and no temporary", "[core]") {
  const TemporaryFolder folder;
  folder.write("a", "old");
  const std::string large(5000, 'x');
  {
    const FileSizeLimit limit(1000);  // the first write comes back short, the next one fails
    AtomicFile file(folder.file("a"));
    CHECK_THROWS_WITH(file.write(large), Catch::Contains("/a: cannot be written: File too large"));
  }
  CHECK(folder.read("a") == "old");
  CHECK(folder.names() == Names{"a"});
}

TEST_CASE("AtomicFile: impossible targets are runtime errors that name the path", "[core]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(AtomicFile(folder.file("none/a")),
                    Catch::Contains("none/a: cannot be written"));
  std::filesystem::create_directory(folder.file("sub"));
  CHECK_THROWS_WITH(cupel::write_file(folder.file("sub"), "x"), Catch::Contains("/sub: cannot be"));
  CHECK(folder.names() == Names{"sub"});
  CHECK_THROWS_AS(AtomicFile(folder.path() + "/"), std::invalid_argument);
  CHECK_THROWS_AS(AtomicFile(""), std::invalid_argument);
}

TEST_CASE("AtomicFile: temporaries of ended processes are removed, others stay", "[core]") {
  const TemporaryFolder folder;
  const std::string ended = std::to_string(ended_process());
  folder.write(".a.tmp-" + ended + "-0", "stale");
  folder.write(".a.tmp-" + std::to_string(::getpid()) + "-999999", "an earlier process of our id");
  folder.write(".b.tmp-" + ended + "-0", "another target's");
  folder.write(".a.tmp-x", "not ours");
  AtomicFile busy(folder.file("a"));
  cupel::write_file(folder.file("a"), "second writer");  // must not take the busy one's file
  CHECK(folder.names().size() == 4);
  busy.write("first writer");
  busy.commit();
  CHECK(folder.read("a") == "first writer");
  CHECK(folder.names() == Names{".a.tmp-x", ".b.tmp-" + ended + "-0", "a"});
}

TEST_CASE("AtomicFile: a path without a folder is in the current one", "[core]") {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  cupel::write_file("plain", "text");
  std::filesystem::current_path(before);
  CHECK(folder.read("plain") == "text");
}

TEST_CASE("SHA-256: the published vectors", "[core]") {
  CHECK(cupel::sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(cupel::sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(cupel::sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(cupel::sha256(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256: pieces give what the whole gives", "[core]") {
  std::string text;
  for (int size = 0; size < 200; ++size) {
    for (const std::size_t step : {1, 7, 63, 64, 65}) {
      cupel::Sha256 hash;
      for (std::size_t at = 0; at < text.size(); at += step) hash.update(text.substr(at, step));
      if (hash.hex() != cupel::sha256(text)) FAIL("length " << size << ", step " << step);
    }
    text += static_cast<char>(size * 31);
  }
}
