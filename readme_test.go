package proxyos

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheReadmesAddressTableIsTrue(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	route := routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts)}
	speaks := map[string]string{"HTTP": schemeHTTP, "HTTPS": schemeHTTPS, "HTTP/2 cleartext": schemeH2C}
	verified := map[string]bool{"checked": true, "not checked": false, "": false}

	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| `([^`]+)` \\|([^|]*)\\|$").FindAllStringSubmatch(string(readme), -1)
	if len(rows) < 14 {
		t.Fatalf("found only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row[1], func(t *testing.T) {
			a, err := parseAddress(row[1])
			if err != nil {
				t.Fatal(err)
			}
			m := infer(a, Upstream{}, nil, route)
			if want, known := speaks[row[2]]; !known || m.scheme != want {
				t.Errorf("it speaks %s, not %s", m.scheme, row[2])
			}
			if got := a.dial(); got != row[3] {
				t.Errorf("it dials %s, not %s", got, row[3])
			}
			certificate := strings.TrimSpace(row[4])
			if want, known := verified[certificate]; !known || m.verify != want || (certificate == "") == (m.scheme == schemeHTTPS) {
				t.Errorf("the certificate is said to be %q; verified: %v", certificate, m.verify)
			}
		})
	}
	if ports := strings.Trim(fmt.Sprint(defaultHTTPSPorts), "[]"); !strings.Contains(string(readme), strings.ReplaceAll(ports, " ", ", ")) {
		t.Errorf("the README does not have the ports %s", ports)
	}
}
