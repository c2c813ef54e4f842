package dashboard

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func fileText(t *testing.T, name string) string {
	content, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestColorsHaveContrastInBothSchemes(t *testing.T) {
	light, dark, _ := strings.Cut(fileText(t, "style.css"), "@media (prefers-color-scheme: dark)")
	for scheme, css := range map[string]string{"light": light, "dark": dark[:strings.Index(dark, "}")]} {
		colors := make(map[string]string)
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]+);`).FindAllStringSubmatch(css, -1) {
			if colors[m[1]] = m[2]; len(m[2]) == 3 {
				colors[m[1]] = string([]byte{m[2][0], m[2][0], m[2][1], m[2][1], m[2][2], m[2][2]})
			}
		}
		for ground, texts := range map[string][]string{
			"page": {"text", "muted", "accent", "good", "warn", "bad"}, "card": {"text", "muted", "accent", "good", "warn", "bad", "off"},
			"hover": {"text", "muted", "accent", "good", "warn", "bad"}, "alarm": {"text"}, "accent": {"on-accent"},
		} {
			for _, text := range texts {
				a, b := luminance(t, colors[ground]), luminance(t, colors[text])
				if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", scheme, text, ground, ratio)
				}
			}
		}
	}
}

// luminance is the relative luminance of WCAG.
func luminance(t *testing.T, hex string) float64 {
	rgb, err := strconv.ParseUint(hex, 16, 24)
	if err != nil || len(hex) != 6 {
		t.Fatalf("color %q", hex)
	}
	part := func(shift uint) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

func TestPageScriptAndStyleAgreeWithTheProgram(t *testing.T) {
	classes := fmt.Sprintf("new Set(['%s', '%s', '%s', '%s', '%s'])", plain, good, warn, bad, off)
	for name, want := range map[string]string{
		"script.js": classes,
		"page.html": fmt.Sprintf(`viewBox="0 0 %d %d"`, chartWidth, chartHeight),
		"style.css": "." + off + "::before",
	} {
		if !strings.Contains(fileText(t, name), want) {
			t.Errorf("%s has no %s", name, want)
		}
	}
}

func TestLinesFillTheirChart(t *testing.T) {
	for _, c := range []struct {
		line []float64
		want string
	}{
		{nil, ""},
		{[]float64{0}, "89,31"},
		{[]float64{0, 0, 0}, "87,31 89,31"},
		{[]float64{5, 5, 5, 10}, "86,16 88,16 89,1"},
		{[]float64{0, 1, 2}, "87,31 88,16 89,1"},
	} {
		if got := points(c.line); got != c.want {
			t.Errorf("%v: %q, want %q", c.line, got, c.want)
		}
	}
}
