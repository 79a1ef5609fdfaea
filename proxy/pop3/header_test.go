package pop3

import (
	"bytes"
	"fmt"
	"mime"
	"runtime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var headers = map[string]struct {
	body string
	want Mail
}{
	"plain": {"Received: from a\r\nFrom: Alice <a@example.test>\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n" +
		"Message-ID: <1@example.test>\r\n\r\nSubject: of the body\r\n",
		Mail{"<1@example.test>", "Alice <a@example.test>", "Tue, 24 Nov 2026 01:02:03 +0000", "hello"}},
	"any case, LF alone, no blanks": {"FROM:a\nsUBJECT:b\nmessage-Id:c\ndate:d\n\n", Mail{"c", "a", "d", "b"}},
	"blanks before the colon":       {"From : a\r\nSubject\t: b\r\n\r\n", Mail{From: "a", Subject: "b"}},
	"folded":                        {"Subject: one\r\n two\r\n\t three \r\nFrom: x\r\n\r\n", Mail{From: "x", Subject: "one two three"}},
	"folded at once":                {"Subject:\r\n one\r\n\r\n", Mail{Subject: "one"}},
	"folded blank line":             {"Subject: one\r\n \r\n two\r\n\r\n", Mail{Subject: "one two"}},
	"folds of what is not wanted":   {"To: a\r\n Subject: b\r\n\r\n", Mail{}},
	"the first of each":             {"Subject: 1\r\nSubject: 2\r\n more\r\n\r\n", Mail{Subject: "1"}},
	"the first is empty":            {"Subject:\r\nSubject: 2\r\n\r\n", Mail{}},
	"encoded": {"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= =?UTF-8?B?IDEyMw==?=\r\n =?iso-8859-1?q?_f=FCr_alle?=\r\n\r\n",
		Mail{Subject: "Grüße 123 für alle"}},
	"encoded name":           {"From: =?utf-8?b?w4RybmU=?= <a@x>\r\n\r\n", Mail{From: "Ärne <a@x>"}},
	"not to be decoded":      {"Message-ID: =?utf-8?q?x?=\r\nDate: =?utf-8?q?y?=\r\n\r\n", Mail{MessageID: "=?utf-8?q?x?=", Date: "=?utf-8?q?y?="}},
	"unknown charset":        {"Subject: =?x-klingon?q?Qapla=27?=\r\n\r\n", Mail{Subject: "=?x-klingon?q?Qapla=27?="}},
	"broken encoding":        {"Subject: =?utf-8?b?%%%?= =?utf-8?q?=ZZ?= =?\r\n\r\n", Mail{Subject: "=?utf-8?b?%%%?= =?utf-8?q?=ZZ?= =?"}},
	"encoded controls":       {"Subject: =?utf-8?q?a=0D=0ABcc:_x=00=1B[2J?=\r\n\r\n", Mail{Subject: "a\ufffd\ufffdBcc: x\ufffd\ufffd[2J"}},
	"encoded octets":         {"Subject: =?utf-8?q?=FF=FEx?=\r\n\r\n", Mail{Subject: "\ufffd\ufffdx"}},
	"controls":               {"Subject: a\x00b\rc\x7fd\te\x1b\r\n\r\n", Mail{Subject: "a\ufffdb\ufffdc\ufffdd e\ufffd"}},
	"eight bit":              {"Subject: Gr\xfc\xdfe\r\nFrom: Grüße\r\n\r\n", Mail{Subject: "Gr\ufffd\ufffde", From: "Grüße"}},
	"stuffed lines":          {"..dots: x\r\n.Subject: stuffed for nothing\r\nFrom: a\r\n.. no fold\r\n\r\n", Mail{Subject: "stuffed for nothing", From: "a"}},
	"stuffed end":            {"From: a\r\n.\r\r\nSubject: b\r\n.\r\nDate: d\r\n", Mail{From: "a", Subject: "b"}},
	"no blank line":          {"From: a\r\nSubject: b\r\n", Mail{From: "a", Subject: "b"}},
	"cut in a line":          {"From: a\r\nSubject: b", Mail{From: "a", Subject: "b"}},
	"cut in a name":          {"From: a\r\nSubje", Mail{From: "a"}},
	"no header":              {"\r\nFrom: a\r\n", Mail{}},
	"no colon":               {"From a@b Mon Nov 23 10:00:00\r\nSubject\r\n x\r\nDate: d\r\n\r\n", Mail{Date: "d"}},
	"longer names":           {"X-From: a\r\nFromm: b\r\nSubject-X: c\r\nMessage-IDs: d\r\n\r\n", Mail{}},
	"empty":                  {"", Mail{}},
	"a line without end":     {"Subject: " + strings.Repeat("x", 1_000_000), Mail{Subject: strings.Repeat("x", MaxText)}},
	"a long line, then more": {"X: " + strings.Repeat("x", 40_000) + "\r\nSubject: b\r\n\r\n", Mail{Subject: "b"}},
	"beyond the bound":       {"X: " + strings.Repeat("x", maxHeader) + "\r\nSubject: b\r\n\r\n", Mail{}},
	"thousands of folds":     {"Subject: a\r\n" + strings.Repeat(" b\r\n", 10_000) + "From: x\r\n\r\n", Mail{From: "x", Subject: ("a" + strings.Repeat(" b", 600))[:MaxText]}},
	"thousands of fields":    {strings.Repeat("A: b\r\n", 10_000) + "From: x\r\n\r\n", Mail{From: "x"}},
}

func TestHeader(t *testing.T) {
	for name, tt := range headers {
		sizes := []int{1, 2, 3, 7, 1000, 4096, len(tt.body) + 1}
		if len(tt.body) < 500 {
			for n := range len(tt.body) {
				sizes = append(sizes, n+1)
			}
		}
		for _, size := range sizes {
			if got := headerOf([]byte(tt.body), size); got != tt.want {
				t.Errorf("%s in pieces of %d: %+q\nwant %+q", name, size, got, tt.want)
			}
		}
	}
}

// headerOf feeds body in pieces, each in memory that is overwritten behind it.
func headerOf(body []byte, size int) Mail {
	var h Header
	piece := make([]byte, 0, size)
	for len(body) > 0 {
		piece = append(piece[:0], body[:min(size, len(body))]...)
		body = body[len(piece):]
		h.Feed(piece)
		clear(piece)
	}
	return h.Mail()
}

// A header of any shape is read in little memory.
func TestHeaderHoldsLittle(t *testing.T) {
	for name, line := range map[string]string{
		"one line": "x", "folds": " x\r\n", "fields": "Subject: x\r\n", "names": "Subject", "stuffed": ".\r\n.",
	} {
		chunk := []byte(strings.Repeat(line, 128*1024/len(line)))
		var h Header
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 8 {
			h.Feed(chunk)
		}
		h.Mail()
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > 64*1024 {
			t.Errorf("%s: %d octets were allocated", name, cost)
		}
	}
}

// slowHeader reads a header the plain way: all of it at once.
func slowHeader(body []byte) Mail {
	body = body[:min(len(body), maxHeader)]
	fields, last := map[string]*[]byte{}, (*[]byte)(nil)
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		line = bytes.TrimSuffix(bytes.TrimPrefix(line[:min(len(line), maxLine)], []byte(".")), []byte("\r"))
		if len(line) == 0 {
			break
		}
		if strings.ContainsRune(" \t", rune(line[0])) {
			if text := bytes.Trim(line, " \t"); last != nil {
				*last = append(append(*last, ' '), text...)
			}
			continue
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		key := strings.ToLower(string(bytes.TrimRight(name, " \t")))
		if last = nil; found && fields[key] == nil {
			v := bytes.Clone(value)
			last, fields[key] = &v, &v
		}
	}
	whole := func(key string) string {
		if fields[key] == nil {
			return ""
		}
		return strings.Join(strings.FieldsFunc(string(*fields[key]), func(r rune) bool { return r == ' ' || r == '\t' }), " ")
	}
	return Mail{MessageID: whole("message-id"), From: whole("from"), Date: whole("date"), Subject: whole("subject")}
}

// blanks are not what the two readings differ in.
func squeezed(s string) string { return strings.Join(strings.Fields(s), " ") }

func FuzzHeader(f *testing.F) {
	for _, tt := range headers {
		f.Add([]byte(tt.body[:min(len(tt.body), 4096)]), 7)
	}
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		got := headerOf(body, max(1, size&0xffff))
		if whole := headerOf(body, len(body)+1); got != whole {
			t.Fatalf("%q in pieces of %d: %+q, and whole %+q", body, size, got, whole)
		}
		want := slowHeader(body)
		checkField(t, got.MessageID, want.MessageID, false)
		checkField(t, got.Date, want.Date, false)
		checkField(t, got.From, want.From, true)
		checkField(t, got.Subject, want.Subject, true)
	})
}

func checkField(t *testing.T, got, want string, encoded bool) {
	t.Helper()
	if len(got) > MaxText || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
		t.Fatalf("%q is not fit to be kept", got)
	}
	if encoded && strings.Contains(want, "=?") {
		var d mime.WordDecoder
		if text, err := d.DecodeHeader(want); err == nil {
			want = text
		}
	}
	if short := Text([]byte(want)); len(want) < MaxText && squeezed(got) != squeezed(short) {
		t.Fatalf("%q, want %q", got, short)
	}
}

func BenchmarkHeader(b *testing.B) {
	var mail strings.Builder
	for i := range 30 {
		fmt.Fprintf(&mail, "X-Header-%d: %s\r\n", i, strings.Repeat("value ", 12))
	}
	mail.WriteString("From: Alice <a@example.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@x>\r\nDate: today\r\n\r\n")
	text := []byte(mail.String())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var h Header
		h.Feed(text)
		h.Mail()
	}
}
