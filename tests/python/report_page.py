"""What a test sees of a report."""

import csv
import io
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """What the tests look at; checks that every element is closed where it belongs."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.text, self.links, self.scripts, self.tables = [], [], [], [], {}
        self.label = self.row = None
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div" and "scroll" in attributes.get("class", "").split():
            self.label = attributes["aria-label"]
        elif tag == "tr":
            self.row = []
            self.tables.setdefault(self.label, []).append(self.row)
        elif tag in ("td", "th"):
            self.row.append(["", attributes.get("data-value"), attributes.get("class", "")])

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.row[-1][0] += data.replace("\u00a0", " ")
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    def words(self):
        return " ".join("".join(self.text).replace("\u00a0", " ").split())


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
