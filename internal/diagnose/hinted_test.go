package diagnose

import (
	"errors"
	"io"
	"net"
	"testing"
)

// dialError hides the error inside, as the DialError of Caddy's reverse_proxy does.
type dialError struct{ error }

type timeoutError struct{ timeout bool }

func (e timeoutError) Error() string   { return "i/o timeout" }
func (e timeoutError) Timeout() bool   { return e.timeout }
func (e timeoutError) Temporary() bool { return true }

func TestHintKeepsWhatTheErrorMeans(t *testing.T) {
	t.Run("a dial error stays one, and is no net.Error", func(t *testing.T) {
		err := WithHint(dialError{timeoutError{true}}, "the hint")
		if _, ok := errors.AsType[dialError](err); !ok {
			t.Error("not a dialError any more: reverse_proxy would not retry")
		}
		if _, ok := err.(net.Error); ok {
			t.Error("a net.Error now: the status would change from 502 to 504")
		}
	})
	t.Run("a time-out stays one without unwrapping", func(t *testing.T) {
		for _, timeout := range []bool{true, false} {
			err, ok := WithHint(timeoutError{timeout}, "the hint").(net.Error)
			if !ok || err.Timeout() != timeout {
				t.Errorf("%v: not the net.Error that it was", timeout)
			}
		}
	})
	t.Run("the text says both", func(t *testing.T) {
		if text := WithHint(io.EOF, "the hint").Error(); text != "EOF; hint: the hint" {
			t.Error(text)
		}
	})
}
