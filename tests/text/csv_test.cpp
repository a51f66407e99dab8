#include "cupel/text/records.h"

#include "support/catch.h"

#include <string>
#include <vector>

#include "support/format_error.h"
#include "support/temporary_folder.h"

using namespace cupel;
using cupel::test::require_format_error;
using cupel::test::TemporaryFolder;

namespace {

using Rows = std::vector<std::vector<std::string>>;

}  // namespace

TEST_CASE("read_csv: quotes, line ends and the lines where records begin") {
  const TemporaryFolder folder;
  const auto rows = [&](const std::string& text, std::size_t columns) {
    Rows rows;
    for (const auto& record : read_csv(folder.write("a.csv", text), columns)) {
      rows.push_back(record.fields);
    }
    return rows;
  };
  CHECK(rows("a,b\nc,d\n", 2) == Rows{{"a", "b"}, {"c", "d"}});
  CHECK(rows("a,b\nc,d", 2) == Rows{{"a", "b"}, {"c", "d"}});
  CHECK(rows("a,b\r\nc,d\r\n", 2) == Rows{{"a", "b"}, {"c", "d"}});
  CHECK(rows("\xEF\xBB\xBF"
             "a,b\n",
             2) == Rows{{"a", "b"}});
  CHECK(rows("\xEF\xBB\xBF\"a\",b\n", 2) == Rows{{"a", "b"}});
  CHECK(rows(",\n,b\na,", 2) == Rows{{"", ""}, {"", "b"}, {"a", ""}});
  CHECK(rows("\"\",\"\"", 2) == Rows{{"", ""}});
  CHECK(rows("\"a,b\",\"c\"\"d\"\"\"\n", 2) == Rows{{"a,b", "c\"d\""}});
  CHECK(rows("\"\"\"\"\n", 1) == Rows{{"\""}});
  CHECK(rows("say \"a\",5\"\"\nb\",c", 2) == Rows{{"say \"a\"", "5\"\""}, {"b\"", "c"}});
  CHECK(rows(" a ,None\nNA,nan\n", 2) == Rows{{" a ", "None"}, {"NA", "nan"}});
  CHECK(rows("\"a\nb\r\nc\n\nd\",e\r\n", 2) == Rows{{"a\nb\nc\n\nd", "e"}});
  CHECK(rows("\"a\rb\"\n", 1) == Rows{{"a\rb"}});
  CHECK(rows("é,\"“ü”\"\n", 2) == Rows{{"é", "“ü”"}});
  CHECK(rows("\na\n\r\n\nb\n\n", 1) == Rows{{"a"}, {"b"}});
  const auto records = read_csv(folder.write("a.csv", "a,b\n\"c\n\r\n\",d\n\n\"e\",f"), 2);
  REQUIRE(records.size() == 3);
  CHECK(records[0].line == 1);
  CHECK(records[1].line == 2);
  CHECK(records[2].line == 6);
}

TEST_CASE("read_csv: a bad file is refused by name and line") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& text, const std::string& line,
                           const std::string& rule) {
    INFO(text);
    const std::string file = folder.write("a.csv", text);
    require_format_error([&] { read_csv(file, 2); }, file, rule);
    require_format_error([&] { read_csv(file, 2); }, line + ":", rule);
  };
  const std::string good = "\"x\ny\",z\n";
  refused("", "line 1", "there is no record");
  refused("\n\r\n", "line 1", "there is no record");
  refused(good + "a\n", "line 3", "a record has 2 fields. Got 1");
  refused(good + "a,b,c\n", "line 3", "a record has 2 fields. Got 3");
  refused(good + "a,\"b\nc", "line 3", "a quoted field ends in a quote. Got 'b\\x0ac'");
  refused(good + "\"a\" ,b\n", "line 3", "follows a quoted field. Got ' ,b");
  refused(good + "\"a\"b\",c\n", "line 3", "follows a quoted field. Got 'b");
  refused(good + "a,b\rc,d\n", "line 3", "a carriage return outside of quotes");
  refused(good + "a,\"b\n\xFF\"\nc,d\n", "line 3", "not valid UTF-8, at byte 13 of");
  refused(good + "a,b\nc,\xC3\n", "line 4", "not valid UTF-8");
  refused(std::string("\xFF\xFE"
                      "a\0,\0b\0",
                      8),
          "line 1", "It looks like UTF-16");
  refused("<!DOCTYPE html>\n<title>Not found</title>\n", "line 1", "web page");
  const std::string missing = folder.file("none.csv");
  require_format_error([&] { read_csv(missing, 2); }, missing, "");
}
