package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestWhatIsNotPrintableIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"CN=app, O=Ünïcode 日本": "CN=app, O=Ünïcode 日本",
		`C:\path "quoted"`:     `C:\path "quoted"`,
		"\x1b[2J\x1b]0;x\a":    `\x1b[2J\x1b]0;x\a`,
		"a\r\nb\tc":            `a\r\nb\tc`,
		"\u202egnp.exe":        `\u202egnp.exe`,
		"\u2066\u200b\ufeff":   `\u2066\u200b\ufeff`,
		"\u0085\u009b31m\x7f":  `\u0085\u009b31m\x7f`,
		"\u2028\u00a0":         `\u2028\u00a0`,
		"\xff\x9b":             `\xff\x9b`,
		"\ufffd":               "\ufffd",
		"\U000e0041":           `\U000e0041`,
		"\x00":                 `\x00`,
	} {
		if got := Escape(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if got := Short(text); got != want {
			t.Errorf("%q in short: %s, want %s", text, got, want)
		}
	}
}

func TestShortIs200CharactersAtMost(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("é", 200), strings.Repeat("é", 200)},
		{strings.Repeat("é", 201), strings.Repeat("é", 199) + "…"},
		{strings.Repeat("x", 197) + "\x1b", strings.Repeat("x", 197) + "…"}, // an escape is not cut
		{strings.Repeat("x", 196) + "\x1b", strings.Repeat("x", 196) + `\x1b`},
		{strings.Repeat("x", 196) + "\x1by", strings.Repeat("x", 196) + "…"},
		{strings.Repeat("x", 10<<20), strings.Repeat("x", 199) + "…"},
	} {
		if got := Short(c.text); got != c.want {
			t.Errorf("%.20q… of %d bytes: %q", c.text, len(c.text), got)
		}
	}
	if got := Cut("a\x1bbc", 6); got != `a\x1b…` {
		t.Errorf("cut to 6: %q", got)
	}
	long := strings.Repeat("\x1b", 1000)
	if got := Escape(long); got != strings.Repeat(`\x1b`, 1000) {
		t.Errorf("Escape cuts %d characters to %d", len(long), len(got))
	}
}

func TestListShowsTenItems(t *testing.T) {
	eleven := strings.Split("a b c d e f g h i j k", " ")
	for _, c := range []struct {
		items []string
		more  int
		want  string
	}{
		{nil, 0, ""},
		{[]string{"one\x1b", "two"}, 0, `one\x1b, two`},
		{eleven[:10], 0, "a, b, c, d, e, f, g, h, i, j"},
		{eleven, 0, "a, b, c, d, e, f, g, h, i, j and 1 more"},
		{eleven, 7989, "a, b, c, d, e, f, g, h, i, j and 7990 more"},
		{eleven[:1], 2, "a and 2 more"},
	} {
		if got := List(c.items, c.more); got != c.want {
			t.Errorf("%v and %d: %s, want %s", c.items, c.more, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("CN=app\x1b[31m")
	f.Add("\xff\u202e…\n")
	f.Fuzz(func(t *testing.T, text string) {
		full, short := Escape(text), Short(text)
		for _, got := range []string{full, short} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q: %q", text, got)
			}
		}
		if n := utf8.RuneCountInString(short); n > 200 {
			t.Errorf("%q: %d characters", text, n)
		}
		if utf8.RuneCountInString(full) <= 200 && short != full {
			t.Errorf("%q: %q in short", text, short)
		}
		if Escape(full) != full {
			t.Errorf("%q: %q is escaped twice", text, full)
		}
	})
}
