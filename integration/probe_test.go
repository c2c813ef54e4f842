package integration

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestProbeWritesOnlyItsOwnWords(t *testing.T) {
	listener := listen(t, "tcp", freeAddr(t))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for err == nil {
					_, err = io.WriteString(conn, "220 \x1b[31m\u202eowned\r\n")
				}
			}()
		}
	}()
	for range 5 {
		command := newChild(t).cli("proxyos", "probe", "--timeout", "1s", listener.Addr().String())
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
