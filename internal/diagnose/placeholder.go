package diagnose

import (
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// PlaceholderError says that a placeholder in an address has an empty value.
type PlaceholderError struct {
	Address address.Address
	Name    string // such as "env.APP"
}

// FindEmptyPlaceholder returns a *PlaceholderError for the first placeholder in an address whose
// value is known to be empty, or nil. With an empty value, Caddy connects to localhost, or fails.
func FindEmptyPlaceholder(a address.Address) error {
	values := caddy.NewReplacer()
	for rest := a.Host + " " + a.Port; ; {
		_, after, found := strings.Cut(rest, "{")
		name, left, closed := strings.Cut(after, "}")
		if !found || !closed {
			return nil
		}
		if value, known := values.GetString(name); known && value == "" {
			return &PlaceholderError{Address: a, Name: name}
		}
		rest = left
	}
}

// SchemeError says that the value of a placeholder in an address has a scheme, such as http://.
type SchemeError struct{ Address address.Address }

// FindSchemeInValue returns a *SchemeError if the value of an address, as far as it is known, has a
// scheme. Caddy cannot connect to that.
func FindSchemeInValue(a address.Address) error {
	if !a.HasPlaceholder() || !strings.Contains(caddy.NewReplacer().ReplaceKnown(a.Dial(), ""), "://") {
		return nil
	}
	return &SchemeError{a}
}

func (e *SchemeError) Error() string { return "the value of " + e.Address.String() + " has a scheme" }

func (e *PlaceholderError) Error() string {
	kind, name, _ := strings.Cut(e.Name, ".")
	_, set := os.LookupEnv(name)
	switch {
	case kind == "env" && set:
		return name + " is empty"
	case kind == "env":
		return name + " is not set"
	case kind == "file":
		return fmt.Sprintf("the file %s is empty or cannot be read", name)
	}
	return "{" + e.Name + "} is empty"
}

// tellPlaceholder is Tell for a placeholder that is empty.
func tellPlaceholder(e *PlaceholderError) (what, advice string) {
	what = e.Error()
	values := caddy.NewReplacer()
	host, port := values.ReplaceKnown(e.Address.Host, ""), values.ReplaceKnown(e.Address.DialPort(), "")
	if host == "" && port != "" {
		what += fmt.Sprintf(", so %s means localhost:%s", e.Address, port)
	}
	if strings.HasPrefix(e.Name, "env.") {
		return what, "set it in Caddy's environment"
	}
	return what, "give it a value, or write the address instead"
}

// Interface guards
var (
	_ error = (*PlaceholderError)(nil)
	_ error = (*SchemeError)(nil)
)
