package address

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestAddressesAreTakenApart(t *testing.T) {
	for text, want := range map[string]Address{
		"app":                          {Host: "app"},
		"app:3000":                     {Host: "app", Port: "3000"},
		"app:1":                        {Host: "app", Port: "1"},
		"app:65535":                    {Host: "app", Port: "65535"},
		":8443":                        {Port: "8443"},
		"http://app:3000":              {Scheme: "http", Host: "app", Port: "3000"},
		"https://app":                  {Scheme: "https", Host: "app"},
		"https://app/":                 {Scheme: "https", Host: "app"},
		"app:3000/":                    {Host: "app", Port: "3000"},
		"HTTPS://App.Lan:3000":         {Scheme: "https", Host: "app.lan", Port: "3000"},
		"h2c://grpc:9000":              {Scheme: "h2c", Host: "grpc", Port: "9000"},
		"192.0.2.7:8006":               {Host: "192.0.2.7", Port: "8006"},
		"my_app-1.lan:80":              {Host: "my_app-1.lan", Port: "80"},
		"bücher.example:80":            {Host: "bücher.example", Port: "80"},
		"[2001:DB8::1]:8443":           {Host: "2001:db8::1", Port: "8443"},
		"[2001:db8::1]":                {Host: "2001:db8::1"},
		"2001:db8::1":                  {Host: "2001:db8::1"},
		"::1":                          {Host: "::1"},
		"https://[::1]:3000":           {Scheme: "https", Host: "::1", Port: "3000"},
		"[fe80::1%ETH0]:8443":          {Host: "fe80::1%ETH0", Port: "8443"},
		"app:8440-8445":                {Host: "app", Port: "8440-8445"},
		"https://app:8440-8445":        {Scheme: "https", Host: "app", Port: "8440-8445"},
		"{env.APP}":                    {Host: "{env.APP}"},
		"{env.APP}:8443":               {Host: "{env.APP}", Port: "8443"},
		"{http.request.header.X}:3000": {Host: "{http.request.header.X}", Port: "3000"},
		"App-{env.APP}.Lan:{env.PORT}": {Host: "app-{env.APP}.lan", Port: "{env.PORT}"},
		"app:80{env.LAST_TWO}":         {Host: "app", Port: "80{env.LAST_TWO}"},
		"{file./run/secrets/app?}:80":  {Host: "{file./run/secrets/app?}", Port: "80"},
		"tcp4/app:3000":                {Network: "tcp4", Host: "app", Port: "3000"},
		"TCP6/[::1]:3000":              {Network: "tcp6", Host: "::1", Port: "3000"},
		"unix//run/App.sock":           {Network: "unix", Host: "/run/App.sock"},
		"unix/app.sock":                {Network: "unix", Host: "app.sock"},
		"unix+h2c//run/app.sock":       {Network: "unix", Scheme: "h2c", Host: "/run/app.sock"},
		"unix//run/app/":               {Network: "unix", Host: "/run/app/"},
		"fd/3":                         {Network: "fd", Host: "3"},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestAddressesDialAsCaddyWritesThem(t *testing.T) {
	for text, want := range map[string]string{
		"h":                      "h:80",
		"http://h":               "h:80",
		"https://h":              "h:443",
		"h2c://h":                "h:80",
		"http://h:443":           "h:443",
		":8443":                  ":8443",
		"2001:db8::1":            "[2001:db8::1]:80",
		"https://[2001:db8::1]":  "[2001:db8::1]:443",
		"[2001:db8::1]:8443":     "[2001:db8::1]:8443",
		"{env.APP}":              "{env.APP}",
		"{env.APP}:8443":         "{env.APP}:8443",
		"h:{env.PORT}":           "h:{env.PORT}",
		"tcp4/h":                 "tcp4/h:80",
		"tcp6/[::1]:3000":        "tcp6/[::1]:3000",
		"unix//run/app.sock":     "unix//run/app.sock",
		"unix+h2c//run/app.sock": "unix//run/app.sock",
		"fd/3":                   "fd/3",
	} {
		t.Run(text, func(t *testing.T) {
			if got := mustParse(t, text).Dial(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestARangeIsOneUpstreamForEachPort(t *testing.T) {
	for text, want := range map[string][]string{
		"h:8440-8445":       {"h:8440", "h:8441", "h:8442", "h:8443", "h:8444", "h:8445"},
		"http://h:1-3":      {"http://h:1", "http://h:2", "http://h:3"},
		"[::1]:80-81":       {"[::1]:80", "[::1]:81"},
		"h:7-7":             {"h:7"},
		"h:3000":            {"h:3000"},
		"{a-b}:3000":        {"{a-b}:3000"},
		"h:{env.A-B}":       {"h:{env.A-B}"},
		"unix//run/a-b:1-2": {"unix//run/a-b:1-2"},
	} {
		t.Run(text, func(t *testing.T) {
			var got []string
			for _, one := range mustParse(t, text).Expand() {
				got = append(got, one.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if got := len(mustParse(t, "h:1-65535").Expand()); got != 65535 {
		t.Errorf("the range of all ports is %d upstreams", got)
	}
}

func TestAnAddressAsAnotherScheme(t *testing.T) {
	for _, c := range []struct{ written, scheme, want string }{
		{"app:3000", HTTPS, "https://app:3000"},
		{"https://pve:8006", HTTP, "http://pve:8006"},
		{"[::1]:80", H2C, "h2c://[::1]:80"},
		{"{env.APP}:8443", HTTP, "one placeholder for host and port together, such as {env.APP}"},
		{"app:{env.PORT}", HTTPS, "app:{env.PORT} with `transport http { tls }`"},
		{"unix//run/app.sock", H2C, "unix+h2c//run/app.sock"},
		{"unix+h2c//run/app.sock", HTTP, "unix//run/app.sock"},
		{"unix//run/app.sock", HTTPS, "unix//run/app.sock with `transport http { tls }`"},
	} {
		if got := mustParse(t, c.written).As(c.scheme); got != c.want {
			t.Errorf("%s as %s: got %q, want %q", c.written, c.scheme, got, c.want)
		}
	}
	if got := mustParse(t, "h2c://app:3000").WithoutScheme(); got != "app:3000" {
		t.Errorf("without its scheme: %q", got)
	}
}

func TestWrongAddressesAreRejectedWithAWayOut(t *testing.T) {
	const (
		path    = "an upstream takes no path; write only the host and the port, and use `rewrite` to change the URI"
		query   = "an upstream takes no query; write only the host and the port, and use `rewrite` to change the URI"
		scheme  = "the scheme %s:// is not supported; write http://, https:// or h2c://, or no scheme"
		host    = "the host is empty; write one, such as localhost:3000"
		space   = "white space inside an address; write one address without spaces"
		control = "a control character inside an address; use printable characters only"
		user    = "an upstream takes no user info; write only the host, and use `header_up Authorization …` for credentials"
		colons  = "too many colons; write one host and one port, and an IPv6 address in brackets: [2001:db8::1]:8443"
		ipv6    = "; write it as [2001:db8::1]:8443"
		noPort  = "the port after the colon is missing; write one from 1 to 65535, or leave out the colon"
		behind  = "a placeholder cannot follow a scheme; write the address without the scheme, and `transport http { tls }` for HTTPS"
		open    = "a placeholder is not closed; write it as {env.APP}:8443"
	)
	port := func(text string) string { return `port "` + text + `" is not a number from 1 to 65535` }
	for text, want := range map[string]string{
		"":                    "the address is empty; write a host and a port, such as app:3000",
		" ":                   space,
		"app :3000":           space,
		"app:3000\t":          space,
		"app\x00:3000":        control,
		"http://":             host,
		"https://:8443":       host,
		"/":                   host,
		"tcp/":                host,
		"app:3000/api":        path,
		"http://app:3000/api": path,
		"http://app//":        path,
		"foo/app:3000":        path,
		"http://app:3000?a=b": query,
		"app?a":               query,
		"http://app:3000/?a":  query,
		"http://app:3000#top": "an upstream takes no fragment; write only the host and the port",
		"http://me:pw@app":    user,
		"me@app:3000":         user,
		"ws://app:3000":       "use http://app:3000: WebSockets do not need a scheme of their own",
		"wss://app:3000":      "use https://app:3000: WebSockets do not need a scheme of their own",
		"WSS://app":           "use https://app: WebSockets do not need a scheme of their own",
		"ftp://app:21":        strings.ReplaceAll(scheme, "%s", "ftp"),
		"htps://app":          strings.ReplaceAll(scheme, "%s", "htps"),
		"://app":              strings.ReplaceAll(scheme, "%s", ""),
		"unix:///run/app":     `a socket takes no "://"; write unix//run/app`,
		"app:":                noPort,
		"https://app:":        noPort,
		"[::1]:":              noPort,
		"app:0":               port("0"),
		"app:65536":           port("65536"),
		"app:99999999999999":  port("99999999999999"),
		"app:http":            port("http"),
		"app:+80":             port("+80"),
		"app:-80":             port(""),
		"app:80-":             port(""),
		"app:80-x":            port("x"),
		"app:80-90-100":       port("90-100"),
		"app:90-80":           "the port range 90-80 runs backwards; write 80-90",
		"app:x{env.PORT}":     `port "x{env.PORT}" is neither a number nor a placeholder; write it as app:{env.PORT}`,
		"app:}{":              `port "}{" is neither a number nor a placeholder; write it as app:{env.PORT}`,
		"2001:db8::1:8443":    "an IPv6 address with a port needs brackets; write [2001:db8::1]:8443, or [2001:db8::1:8443] if there is no port",
		"::1:80":              "an IPv6 address with a port needs brackets; write [::1]:80, or [::1:80] if there is no port",
		"[::1:80":             "the bracket of the IPv6 address is not closed" + ipv6,
		"[::1]80":             `"80" after the bracket is not a port` + ipv6,
		"[app]:80":            "[app] is not an IPv6 address" + ipv6,
		"[192.0.2.7]:80":      "[192.0.2.7] is not an IPv6 address" + ipv6,
		"a:b:c":               colons,
		"app:80:90":           colons,
		"app:3000,app:3001":   "an upstream is one address; separate several with spaces",
		"app,other":           "an upstream is one address; separate several with spaces",
		"app!:3000":           `'!' cannot be in a host; write a name or an IP address, such as app:3000`,
		"app]:3000":           `']' cannot be in a host; write a name or an IP address, such as app:3000`,
		"https://app:80":      "https:// and port 80, the HTTP port, contradict each other; write http://app or https://app",
		"h2c://app:443":       "h2c:// is cleartext and port 443 is the HTTPS port; write https://app",
		"https://{env.APP}":   behind,
		"http://app:{env.P}":  "a placeholder cannot follow a scheme; write the address without the scheme, and put a well-known HTTPS port into the value, since a written one means HTTPS",
		"h2c://{env.APP}":     "a placeholder cannot follow a scheme; write the address without the scheme, and `transport http { versions h2c }`",
		"{env.APP:8443":       open,
		"app:{env.PORT":       open,
		"unix/":               "the path of the socket is missing; write unix//run/app.sock",
		"unix+h2c/":           "the path of the socket is missing; write unix+h2c//run/app.sock",
	} {
		t.Run(text, func(t *testing.T) {
			got, err := Parse(text)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if want := "upstream " + strconv.Quote(text) + ": " + want; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "h", ":8443", "h:3000", "http://h:8006", "https://h", "HTTPS://H/", "h2c://h:9000", "[2001:db8::1]:8443",
		"2001:db8::1", "[fe80::1%eth0]:80", "h:8440-8445", "{env.APP}:8443", "{http.request.header.X}:3000", "h:{p}",
		"unix//run/app.sock", "unix+h2c//run/app.sock", "tcp4/h:1", "fd/3", "ws://h", "http://u@h", "h:9-1", "a{b", "}{", "{a{b}}:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "upstream "+strconv.Quote(text)+": ") {
				t.Errorf("the error does not name the address %q: %v", text, err)
			}
			return
		}
		second, err := Parse(first.String())
		if err != nil {
			t.Fatalf("%q prints as %q, which is rejected: %v", text, first, err)
		}
		if second != first || second.Dial() != first.Dial() {
			t.Errorf("%q is %+v and dials %q, printed and parsed again %+v and %q", text, first, first.Dial(), second, second.Dial())
		}
		for i, one := range first.Expand() {
			if i > 3 {
				break // a range can have 65,535
			}
			if again, err := Parse(one.String()); err != nil || again != one {
				t.Errorf("%q expands to %q, parsed again %+v, %v", text, one, again, err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("https://pve.lan:8006"); err != nil {
			b.Fatal(err)
		}
	}
}

func mustParse(t testing.TB, text string) Address {
	t.Helper()
	a, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
