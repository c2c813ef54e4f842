package proxyos

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestAddressesAreTakenApart(t *testing.T) {
	for text, want := range map[string]address{
		"app":                          {host: "app"},
		"app:3000":                     {host: "app", port: "3000"},
		"app:1":                        {host: "app", port: "1"},
		"app:65535":                    {host: "app", port: "65535"},
		":8443":                        {port: "8443"},
		"http://app:3000":              {scheme: "http", host: "app", port: "3000"},
		"https://app":                  {scheme: "https", host: "app"},
		"https://app/":                 {scheme: "https", host: "app"},
		"app:3000/":                    {host: "app", port: "3000"},
		"HTTPS://App.Lan:3000":         {scheme: "https", host: "app.lan", port: "3000"},
		"h2c://grpc:9000":              {scheme: "h2c", host: "grpc", port: "9000"},
		"192.0.2.7:8006":               {host: "192.0.2.7", port: "8006"},
		"my_app-1.lan:80":              {host: "my_app-1.lan", port: "80"},
		"bücher.example:80":            {host: "bücher.example", port: "80"},
		"[2001:DB8::1]:8443":           {host: "2001:db8::1", port: "8443"},
		"[2001:db8::1]":                {host: "2001:db8::1"},
		"2001:db8::1":                  {host: "2001:db8::1"},
		"::1":                          {host: "::1"},
		"https://[::1]:3000":           {scheme: "https", host: "::1", port: "3000"},
		"[fe80::1%ETH0]:8443":          {host: "fe80::1%ETH0", port: "8443"},
		"app:8440-8445":                {host: "app", port: "8440-8445"},
		"https://app:8440-8445":        {scheme: "https", host: "app", port: "8440-8445"},
		"{env.APP}":                    {host: "{env.APP}"},
		"{env.APP}:8443":               {host: "{env.APP}", port: "8443"},
		"{http.request.header.X}:3000": {host: "{http.request.header.X}", port: "3000"},
		"App-{env.APP}.Lan:{env.PORT}": {host: "app-{env.APP}.lan", port: "{env.PORT}"},
		"app:80{env.LAST_TWO}":         {host: "app", port: "80{env.LAST_TWO}"},
		"{file./run/secrets/app?}:80":  {host: "{file./run/secrets/app?}", port: "80"},
		"tcp4/app:3000":                {network: "tcp4", host: "app", port: "3000"},
		"TCP6/[::1]:3000":              {network: "tcp6", host: "::1", port: "3000"},
		"unix//run/App.sock":           {network: "unix", host: "/run/App.sock"},
		"unix/app.sock":                {network: "unix", host: "app.sock"},
		"unix+h2c//run/app.sock":       {network: "unix", scheme: "h2c", host: "/run/app.sock"},
		"unix//run/app/":               {network: "unix", host: "/run/app/"},
		"fd/3":                         {network: "fd", host: "3"},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := parseAddress(text)
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
			if got := mustParse(t, text).dial(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestARangeIsOneUpstreamAPort(t *testing.T) {
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
			for _, one := range mustParse(t, text).expand() {
				got = append(got, one.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if got := len(mustParse(t, "h:1-65535").expand()); got != 65535 {
		t.Errorf("the range of all ports is %d upstreams", got)
	}
}

func TestWrongAddressesAreRefusedWithAWayOut(t *testing.T) {
	const (
		path    = "an upstream takes no path; write the host and port alone, and `rewrite` to change the URI"
		query   = "an upstream takes no query; write the host and port alone, and `rewrite` to change the URI"
		scheme  = "the scheme %s:// is not supported; write http://, https:// or h2c://, or no scheme"
		host    = "the host is empty; write one, such as localhost:3000"
		space   = "white space inside an address; write one address without spaces"
		control = "a control character inside an address; write one address of printable characters"
		user    = "an upstream takes no user info; write the host alone, and `header_up Authorization …` for credentials"
		colons  = "too many colons; write one host and one port, and an IPv6 address in brackets: [2001:db8::1]:8443"
		ipv6    = "; write it as [2001:db8::1]:8443"
		noPort  = "the port after the colon is missing; write one from 1 to 65535, or leave the colon out"
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
		"http://app:3000#top": "an upstream takes no fragment; write the host and port alone",
		"http://me:pw@app":    user,
		"me@app:3000":         user,
		"ws://app:3000":       "use http://app:3000: WebSockets need no scheme of their own",
		"wss://app:3000":      "use https://app:3000: WebSockets need no scheme of their own",
		"WSS://app":           "use https://app: WebSockets need no scheme of their own",
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
		"http://app:{env.P}":  behind,
		"{env.APP:8443":       open,
		"app:{env.PORT":       open,
		"unix/":               "the path of the socket is missing; write unix//run/app.sock",
		"unix+h2c/":           "the path of the socket is missing; write unix+h2c//run/app.sock",
	} {
		t.Run(text, func(t *testing.T) {
			got, err := parseAddress(text)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if want := "upstream " + strconv.Quote(text) + ": " + want; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{
		"", "h", ":8443", "h:3000", "http://h:8006", "https://h", "HTTPS://H/", "h2c://h:9000", "[2001:db8::1]:8443",
		"2001:db8::1", "[fe80::1%eth0]:80", "h:8440-8445", "{env.APP}:8443", "{http.request.header.X}:3000", "h:{p}",
		"unix//run/app.sock", "unix+h2c//run/app.sock", "tcp4/h:1", "fd/3", "ws://h", "http://u@h", "h:9-1", "a{b", "}{", "{a{b}}:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := parseAddress(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "upstream "+strconv.Quote(text)+": ") {
				t.Errorf("the error does not name the address %q: %v", text, err)
			}
			return
		}
		second, err := parseAddress(first.String())
		if err != nil {
			t.Fatalf("%q prints as %q, which is refused: %v", text, first, err)
		}
		if second != first || second.dial() != first.dial() {
			t.Errorf("%q is %+v and dials %q, printed and parsed again %+v and %q", text, first, first.dial(), second, second.dial())
		}
		for i, one := range first.expand() {
			if i > 3 {
				break // a range can have 65,535
			}
			if again, err := parseAddress(one.String()); err != nil || again != one {
				t.Errorf("%q expands to %q, parsed again %+v, %v", text, one, again, err)
			}
		}
	})
}

func TestUpstreamsWithoutOptionsAreStringsInJSON(t *testing.T) {
	three, yes := 3, true
	for _, c := range []struct {
		name, text, encoded string
		want                Upstream
	}{
		{"a string", `"pve:8006"`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{"an object with the address alone", `{"address": "pve:8006"}`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{"dial as in reverse_proxy", `{"dial": "pve:8006"}`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{
			"an object with options", `{"dial": "a:1", "max_requests": 5, "weight": 3, "skip_tls_verify": true}`,
			`{"address":"a:1","max_requests":5,"weight":3,"skip_tls_verify":true}`,
			Upstream{Address: "a:1", MaxRequests: 5, Weight: &three, SkipTLSVerify: &yes},
		},
		{
			"TLS settings", `{"address": "https://a:1", "tls": {"server_name": "b"}}`, `{"address":"https://a:1","tls":{"server_name":"b"}}`,
			Upstream{Address: "https://a:1", TLS: &reverseproxy.TLSConfig{ServerName: "b"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got Upstream
			if err := json.Unmarshal([]byte(c.text), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			encoded, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if string(encoded) != c.encoded {
				t.Errorf("encoded as %s, want %s", encoded, c.encoded)
			}
		})
	}
}

func TestZeroWeightSurvivesJSON(t *testing.T) {
	const text = `{"address":"a:1","weight":0,"skip_tls_verify":false}`
	var u Upstream
	if err := json.Unmarshal([]byte(text), &u); err != nil {
		t.Fatal(err)
	}
	if encoded, err := json.Marshal(u); err != nil || string(encoded) != text {
		t.Errorf("got %s, %v, want %s", encoded, err, text)
	}
}

func BenchmarkParseAddress(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseAddress("https://pve.lan:8006"); err != nil {
			b.Fatal(err)
		}
	}
}

func mustParse(t testing.TB, text string) address {
	t.Helper()
	a, err := parseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
