package proxyos

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// spoken says what an upstream speaks, in a form that reads well in tables.
func spoken(b backend) string {
	if b.scheme != address.HTTPS {
		return b.scheme + " " + b.dial
	}
	if b.verify {
		return "https " + b.dial + " verified"
	}
	return "https " + b.dial + " skipped"
}

func speak(t *testing.T, u Upstream, group *bool, route routeOptions) []string {
	t.Helper()
	if route.httpsPorts == nil {
		route.httpsPorts = newPortSet(defaultHTTPSPorts)
	}
	backends, err := resolve([]Upstream{u}, group, route)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, b := range backends {
		all = append(all, spoken(b))
	}
	return all
}

func TestAddressTable(t *testing.T) {
	for _, row := range []struct {
		address string
		want    []string
	}{
		{"http://h:3000", []string{"http h:3000"}},
		{"http://h:8006", []string{"http h:8006"}},
		{"http://h:443", []string{"http h:443"}},
		{"HTTP://h:8443", []string{"http h:8443"}},
		{"https://h:3000", []string{"https h:3000 verified"}},
		{"https://h", []string{"https h:443 verified"}},
		{"h:8006", []string{"https h:8006 skipped"}},
		{"h:08006", []string{"https h:8006 skipped"}},
		{"https://h:8006", []string{"https h:8006 skipped"}},
		{"https://h:443", []string{"https h:443 skipped"}},
		{"h:3000", []string{"http h:3000"}},
		{"h:80", []string{"http h:80"}},
		{"h", []string{"http h:80"}},
		{":8443", []string{"https :8443 skipped"}},
		{"[2001:db8::1]:8443", []string{"https [2001:db8::1]:8443 skipped"}},
		{"[2001:db8::1]:3000", []string{"http [2001:db8::1]:3000"}},
		{"2001:db8::1", []string{"http [2001:db8::1]:80"}},
		{"h2c://h:9000", []string{"h2c h:9000"}},
		{"h2c://h:8443", []string{"h2c h:8443"}},
		{"unix//run/app.sock", []string{"http unix//run/app.sock"}},
		{"unix//run/app:8443", []string{"http unix//run/app:8443"}},
		{"unix+h2c//run/app.sock", []string{"h2c unix//run/app.sock"}},
		{"h:8440-8445", []string{"http h:8440", "http h:8441", "http h:8442", "https h:8443 skipped", "http h:8444", "http h:8445"}},
		{"http://h:8442-8443", []string{"http h:8442", "http h:8443"}},
		{"https://h:8442-8443", []string{"https h:8442 verified", "https h:8443 skipped"}},
		{"{env.APP}:8443", []string{"https {env.APP}:8443 skipped"}},
		{"{http.request.header.X}:3000", []string{"http {http.request.header.X}:3000"}},
		{"h:{env.PORT}", []string{"http h:{env.PORT}"}},
		{"h:844{env.PORT}", []string{"http h:844{env.PORT}"}},
		{"{env.APP}", []string{"http {env.APP}"}},
		{"{env.APP:8443}", []string{"http {env.APP:8443}"}},
	} {
		t.Run(row.address, func(t *testing.T) {
			if got := speak(t, Upstream{Address: row.address}, nil, routeOptions{}); !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestDetectedPortsAreTheDocumentedOnes(t *testing.T) {
	var detected []int
	for port := 1; port <= 65535; port++ {
		a := address.Address{Host: "h", Port: fmt.Sprint(port)}
		if scheme, _ := inferScheme(a, routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts)}); scheme == address.HTTPS {
			detected = append(detected, port)
		}
	}
	if want := []int{443, 8006, 8007, 8443, 9090, 9443, 10443}; !slices.Equal(detected, want) {
		t.Errorf("got %v, want %v", detected, want)
	}
}

func TestTransportIsTheBaseOfEveryUpstream(t *testing.T) {
	verified := &reverseproxy.TLSConfig{}
	unverified := &reverseproxy.TLSConfig{InsecureSkipVerify: true}
	except := &reverseproxy.TLSConfig{ExceptPorts: []string{"80", "443", "3000", "8443"}}
	for _, c := range []struct {
		name    string
		address string
		route   routeOptions
		want    string
	}{
		{"TLS makes an upstream HTTPS", "h:3000", routeOptions{tls: verified}, "https h:3000 verified"},
		{"TLS verifies a detected port", "h:8443", routeOptions{tls: verified}, "https h:8443 verified"},
		{"TLS does not change a written http://", "http://h:8443", routeOptions{tls: verified}, "http h:8443"},
		{"TLS does not change a written h2c://", "h2c://h:9000", routeOptions{tls: verified}, "h2c h:9000"},
		{"TLS applies to sockets", "unix//run/s", routeOptions{tls: verified}, "https unix//run/s verified"},
		{"TLS applies to placeholders", "{env.APP}", routeOptions{tls: verified}, "https {env.APP} verified"},
		{"TLS without a check", "h:3000", routeOptions{tls: unverified}, "https h:3000 skipped"},
		{"TLS without a check, written https://", "https://h", routeOptions{tls: unverified}, "https h:443 skipped"},
		{"an exception speaks HTTP", "h:3000", routeOptions{tls: except}, "http h:3000"},
		{"an exception applies to a detected port", "h:8443", routeOptions{tls: except}, "http h:8443"},
		{"an exception applies to a written https://", "https://h:3000", routeOptions{tls: except}, "http h:3000"},
		{"an exception applies to the port of https://", "https://h", routeOptions{tls: except}, "http h:443"},
		{"an exception applies to the port of a bare host", "h", routeOptions{tls: except}, "http h:80"},
		{"an exception leaves the others alone", "h:3001", routeOptions{tls: except}, "https h:3001 verified"},
		{"versions h2c: cleartext is h2c", "h:3000", routeOptions{cleartextH2: true}, "h2c h:3000"},
		{"versions h2c: written http:// is h2c", "http://h:3000", routeOptions{cleartextH2: true}, "h2c h:3000"},
		{"versions h2c: a socket is h2c", "unix//run/s", routeOptions{cleartextH2: true}, "h2c unix//run/s"},
		{"versions h2c: HTTPS stays", "h:8443", routeOptions{cleartextH2: true}, "https h:8443 skipped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := speak(t, Upstream{Address: c.address}, nil, c.route); !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFirstRuleThatAppliesDecidesTheCertificateCheck(t *testing.T) {
	on, off := true, false
	trust, trustNothing := &reverseproxy.TLSConfig{ServerName: "n"}, &reverseproxy.TLSConfig{InsecureSkipVerify: true}
	for _, c := range []struct {
		name     string
		address  string
		upstream *bool
		own      *reverseproxy.TLSConfig
		group    *bool
		route    *bool
		tls      *reverseproxy.TLSConfig
		verified bool
		because  reason
	}{
		{"1: the upstream's off wins over everything", "h:8443", &off, trustNothing, &on, &on, trustNothing, true, becauseOfUpstream},
		{"1: the upstream's on wins over everything", "https://h", &on, trust, &off, &off, trust, false, becauseOfUpstream},
		{"2: the group's off wins over the route's on", "h:8443", nil, trustNothing, &off, &on, trustNothing, true, becauseOfGroup},
		{"2: the group's on wins over the route's off", "https://h", nil, trust, &on, &off, trust, false, becauseOfGroup},
		{"3: the route's off wins over trust settings", "h:8443", nil, trustNothing, nil, &off, trustNothing, true, becauseOfRoute},
		{"3: the route's on wins over trust settings", "https://h", nil, trust, nil, &on, trust, false, becauseOfRoute},
		{"4: trust settings of a detected port are used", "h:8443", nil, trust, nil, nil, nil, true, becauseOfTrust},
		{"4: trust settings may say not to check", "https://h", nil, trustNothing, nil, nil, nil, false, becauseOfTrust},
		{"4: the upstream's settings win over the transport's", "h:8443", nil, trust, nil, nil, trustNothing, true, becauseOfTrust},
		{"4: the transport's settings are used", "h:8443", nil, nil, nil, nil, trust, true, becauseTransport},
		{"4: the transport may say not to check", "https://h", nil, nil, nil, nil, trustNothing, false, becauseTransport},
		{"5: a detected port is not checked", "h:8443", nil, nil, nil, nil, nil, false, becauseDetected},
		{"5: nor is one with https://", "https://h:8443", nil, nil, nil, nil, nil, false, becauseDetected},
		{"6: all others are checked", "https://h:3000", nil, nil, nil, nil, nil, true, becauseDefault},
		{"6: 443 is checked where it is not written", "https://h", nil, nil, nil, nil, nil, true, becauseDefault},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := Upstream{Address: c.address, SkipTLSVerify: c.upstream, TLS: c.own}
			route := routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts), skipTLSVerify: c.route, tls: c.tls}
			m := infer(mustParseAddress(t, c.address), u, c.group, route)
			if m.scheme != address.HTTPS || m.verify != c.verified || m.verifyReason != c.because {
				t.Errorf("got %+v, want verify %v since %s", m, c.verified, c.because)
			}
			if warns := m.uncheckedByDetection(); warns != (c.because == becauseDetected) {
				t.Errorf("the operator is warned: %v", warns)
			}
		})
	}
}

func TestSkipTLSVerifyNeverTurnsTLSOn(t *testing.T) {
	on := true
	for _, text := range []string{"h:3000", "http://h:8443", "h2c://h:9000", "unix//run/s", "h"} {
		u := Upstream{Address: text, SkipTLSVerify: &on}
		m := infer(mustParseAddress(t, text), u, &on, routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts), skipTLSVerify: &on})
		if m.scheme == address.HTTPS || m.verifyReason != "" {
			t.Errorf("%s: %+v", text, m)
		}
	}
}

func TestHTTPSPortsOption(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want []int
	}{
		{"ports replace the list", []string{"8443", "5001"}, []int{8443, 5001}},
		{"a plus adds", []string{"+5001"}, []int{443, 8006, 8007, 8443, 9090, 9443, 10443, 5001}},
		{"a minus removes", []string{"-9090"}, []int{443, 8006, 8007, 8443, 9443, 10443}},
		{"a sign applies to the ports after it", []string{"-9090", "443", "+1", "2"}, []int{8006, 8007, 8443, 9443, 10443, 1, 2}},
		{"a sign may stand alone", []string{"-", "443", "8006", "8007", "9090", "9443", "10443", "+", "1"}, []int{8443, 1}},
		{"what is there is added once", []string{"+8443", "8443"}, []int{443, 8006, 8007, 8443, 9090, 9443, 10443}},
		{"what is not there is not removed", []string{"-1"}, []int{443, 8006, 8007, 8443, 9090, 9443, 10443}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseHTTPSPorts(c.args)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
	if len(defaultHTTPSPorts) != 7 {
		t.Errorf("the option changes the default: %v", defaultHTTPSPorts)
	}
}

func TestWrongHTTPSPortsAreRejected(t *testing.T) {
	const notAPort = `https_ports: port %q is not a number from 1 to 65535`
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "https_ports: no port given; write the ports that mean HTTPS, or +8444 to add one"},
		{[]string{""}, fmt.Sprintf(notAPort, "")},
		{[]string{"8443", ""}, fmt.Sprintf(notAPort, "")},
		{[]string{"0"}, fmt.Sprintf(notAPort, "0")},
		{[]string{"65536"}, fmt.Sprintf(notAPort, "65536")},
		{[]string{"https"}, fmt.Sprintf(notAPort, "https")},
		{[]string{"8443,9443"}, fmt.Sprintf(notAPort, "8443,9443")},
		{[]string{"+"}, fmt.Sprintf(notAPort, "")},
		{[]string{"+", "1", "-"}, fmt.Sprintf(notAPort, "")},
		{[]string{"++1"}, `https_ports: "++1" has more than one sign; write +8444 or -9090`},
		{[]string{"8443", "+1"}, `https_ports: "+1" changes a list that "8443" replaces; write signs for all ports or for none`},
	} {
		t.Run(fmt.Sprintf("%q", c.args), func(t *testing.T) {
			got, err := parseHTTPSPorts(c.args)
			if err == nil {
				t.Fatalf("accepted as %v", got)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestChangedPortsAreTheOnesDetected(t *testing.T) {
	route := routeOptions{httpsPorts: newPortSet([]int{5001})}
	for text, want := range map[string]string{
		"h:5001": "https h:5001 skipped", "h:8443": "http h:8443", "https://h:8443": "https h:8443 verified",
	} {
		if got := speak(t, Upstream{Address: text}, nil, route); got[0] != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := speak(t, Upstream{Address: "h:443"}, nil, routeOptions{httpsPorts: portSet{}}); got[0] != "http h:443" {
		t.Errorf("with the detection off: %q", got)
	}
}

func mustParseAddress(t testing.TB, text string) address.Address {
	t.Helper()
	a, err := address.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
