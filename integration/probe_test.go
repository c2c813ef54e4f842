package integration

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestProbeWritesOnlyItsOwnWords(t *testing.T) {
	server := proxytest.NewRawServer(t, func(conn net.Conn) {
		var err error
		for err == nil {
			_, err = io.WriteString(conn, "220 \x1b[31m\u202eowned\r\n")
		}
	})
	for range 5 {
		command := newChild(t).CLI("proxyos", "probe", "--timeout", "1s", server.Addr)
		var output, errors bytes.Buffer
		command.Stdout, command.Stderr = &output, &errors
		if err := command.Run(); err == nil {
			t.Error("exit code 0")
		}
		if errors.Len() > 0 {
			t.Errorf("writes %q besides", errors.String())
		}
		if text := output.String(); strings.ContainsAny(text, "\x1b\u202e\r") || !strings.Contains(text, "It does not work") {
			t.Errorf("prints %q", text)
		}
	}
}
