#include "cupel/core/journal.h"

#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.h"
#include <filesystem>
#include <string>
#include <vector>

#include "cupel/core/error.h"
#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

using Batches = std::vector<std::vector<std::string>>;

const std::string kManifest = R"({"about":"a test"})";
const Batches kBatches{{R"({"item":0})", R"({"item":1})"}, {R"({"item":2})"}, {"plain", "lines"}};

std::string write_journal(const TemporaryFolder& folder, const std::string& name = "j.jsonl") {
  Journal journal = Journal::create(folder.file(name), kManifest);
  for (const auto& batch : kBatches) journal.append_batch(batch);
  CHECK(journal.batches() == 3);
  return folder.read(name);
}

// Ends of the lines that close a batch, and of the manifest.
std::vector<std::size_t> whole_ends(const std::string& text) {
  std::vector<std::size_t> ends{text.find('\n') + 1};
  for (std::size_t at = 0; (at = text.find("{\"batch\":", at)) != std::string::npos; ++at) {
    ends.push_back(text.find('\n', at) + 1);
  }
  return ends;
}

}  // namespace

TEST_CASE("Journal: what was written is read, and goes on where it ended") {
  const TemporaryFolder folder;
  write_journal(folder);
  const JournalContents read = read_journal(folder.file("j.jsonl"));
  CHECK(read.manifest == kManifest);
  CHECK(read.batches == kBatches);
  CHECK(read.dropped_bytes == 0);
  {
    Journal journal = Journal::open(folder.file("j.jsonl"));
    CHECK(journal.contents().batches == kBatches);
    journal.append_batch({"more"});
  }
  const JournalContents again = read_journal(folder.file("j.jsonl"));
  REQUIRE(again.batches.size() == 4);
  CHECK(again.batches[3] == std::vector<std::string>{"more"});
}

TEST_CASE("Journal: cut at any byte it keeps exactly the whole batches, and mends") {
  const TemporaryFolder folder;
  const std::string text = write_journal(folder);
  const std::vector<std::size_t> ends = whole_ends(text);
  REQUIRE(ends.size() == 4);
  for (std::size_t size = 0; size <= text.size(); ++size) {
    INFO("cut at " << size);
    folder.write("cut.jsonl", text.substr(0, size));
    const auto whole = std::count_if(ends.begin(), ends.end(), [&](auto e) { return e <= size; });
    const std::size_t good = whole == 0 ? 0 : ends[whole - 1];
    const std::string rest = text.substr(good, size - good);
    {
      if (whole == 0) {  // not even the manifest: it is started anew
        Journal journal = Journal::create(folder.file("cut.jsonl"), kManifest);
        for (const auto& batch : kBatches) journal.append_batch(batch);
      } else {
        Journal journal = Journal::open(folder.file("cut.jsonl"));
        REQUIRE(static_cast<std::ptrdiff_t>(journal.contents().batches.size()) == whole - 1);
        CHECK(journal.contents().dropped_bytes == static_cast<int64_t>(rest.size()));
        const auto lines = std::count(rest.begin(), rest.end(), '\n');
        const bool begun = !rest.empty() && rest.back() != '\n';
        CHECK(journal.contents().dropped_lines == lines + begun);
        for (std::size_t i = whole - 1; i < kBatches.size(); ++i) journal.append_batch(kBatches[i]);
      }
    }
    CHECK(read_journal(folder.file("cut.jsonl")).batches == kBatches);
  }
}

TEST_CASE("Journal: reading changes nothing, opening cuts only what is accepted") {
  const TemporaryFolder folder;
  const std::string text = write_journal(folder) + "half a li";
  folder.write("j.jsonl", text);
  CHECK(read_journal(folder.file("j.jsonl")).dropped_bytes == 9);
  CHECK(folder.read("j.jsonl") == text);
  CHECK_THROWS_WITH(Journal::open(folder.file("j.jsonl"),
                                  [](const JournalContents& found) {
                                    CHECK(found.batches == kBatches);
                                    throw std::invalid_argument("not this one");
                                  }),
                    Catch::Contains("not this one"));
  CHECK(folder.read("j.jsonl") == text);
  CHECK(Journal::open(folder.file("j.jsonl")).contents().dropped_lines == 1);
  CHECK(folder.read("j.jsonl") == text.substr(0, text.size() - 9));
}

TEST_CASE("Journal: a changed byte is found, and only a last batch may be lost by it") {
  const TemporaryFolder folder;
  const std::string text = write_journal(folder);
  const std::vector<std::size_t> ends = whole_ends(text);
  for (std::size_t at = ends[0]; at < text.size(); ++at) {
    INFO("byte " << at);
    std::string bad = text;
    bad[at] = bad[at] == '0' ? '1' : '0';
    // Times are not covered: they are for the reader.
    const std::size_t line = bad.rfind('\n', at) + 1;
    const bool in_time = text.compare(line, 8, "{\"batch\"") == 0 &&
                         at > text.find("\"time\":\"", line) + 7 && at < text.find("\"}", line);
    folder.write("bad.jsonl", bad);
    const std::string path = folder.file("bad.jsonl");
    if (in_time) {
      CHECK(read_journal(path).batches == kBatches);
    } else if (at < ends[2] || at == text.find("{\"batch\":2") + 9) {  // or its number
      require_format_error([&] { read_journal(path); }, path, "is damaged");
    } else {
      const JournalContents left = read_journal(path);
      CHECK(left.batches == Batches{kBatches[0], kBatches[1]});
      CHECK(left.dropped_bytes == static_cast<int64_t>(text.size() - ends[2]));
    }
  }
}

TEST_CASE("Journal: a missing batch is named by its line") {
  const TemporaryFolder folder;
  const std::string text = write_journal(folder);
  const std::vector<std::size_t> ends = whole_ends(text);
  folder.write("gap.jsonl", text.substr(0, ends[1]) + text.substr(ends[2]));
  require_format_error([&] { read_journal(folder.file("gap.jsonl")); }, folder.file("gap.jsonl"),
                       "batch 1 is damaged");
  require_format_error([&] { read_journal(folder.file("gap.jsonl")); }, "line 5", "");
}

TEST_CASE("Journal: only one holds a file at a time") {
  const TemporaryFolder folder;
  {
    const Journal first = Journal::create(folder.file("j.jsonl"), kManifest);
    CHECK_THROWS_WITH(Journal::open(folder.file("j.jsonl")),
                      Catch::Contains("Another one is writing"));
    CHECK_THROWS_AS(Journal::create(folder.file("j.jsonl"), kManifest), std::invalid_argument);
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        Journal::open(folder.file("j.jsonl"));
        ::_exit(1);
      } catch (const std::invalid_argument&) {
        ::_exit(0);
      }
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  CHECK_NOTHROW(Journal::open(folder.file("j.jsonl")));
}

TEST_CASE("Journal: others' files and others' lines are refused") {
  const TemporaryFolder folder;
  write_journal(folder);
  CHECK_THROWS_WITH(Journal::create(folder.file("j.jsonl"), kManifest),
                    Catch::Contains("holds batches"));
  const std::string notes = folder.write("notes.txt", "do not touch");
  require_format_error([&] { Journal::create(notes, kManifest); }, notes, "is no journal");
  CHECK(folder.read("notes.txt") == "do not touch");
  const std::string list = folder.write("list.txt", "one\ntwo\n");
  require_format_error([&] { Journal::open(list); }, list, "not valid JSON");
  CHECK(folder.read("list.txt") == "one\ntwo\n");
  CHECK_THROWS_AS(Journal::open(folder.file("none.jsonl")), std::runtime_error);
  CHECK_THROWS_AS(Journal::create(folder.file("k.jsonl"), "two\nlines"), std::invalid_argument);
  Journal journal = Journal::create(folder.file("k.jsonl"), kManifest);
  for (const std::string line : {"", "two\nlines", "{\"batch\":0}"}) {
    CHECK_THROWS_AS(journal.append_batch({line}), std::invalid_argument);
  }
  CHECK_THROWS_AS(journal.append_batch({}), std::invalid_argument);
  journal.append_batch({"a line"});
  CHECK(read_journal(folder.file("k.jsonl")).batches == Batches{{"a line"}});
}
