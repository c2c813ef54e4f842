// Package browser looks at dashboards of a real Caddy in a real browser: Debian's chromium, without a
// window.
//
//	go test -tags browser ./...
//
// The tests need the tag, so that everything else needs Go alone. PROXYOS_SHOTS is a folder for pictures of
// what was looked at. The README's picture is made anew, which takes a quarter of an hour, by
//
//	PROXYOS_PICTURE=1 go test -tags browser -timeout 30m -run Picture .
package browser
