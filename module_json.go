package proxyos

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// UnmarshalJSON decodes the handler. A field that is neither its own nor reverse_proxy's is a
// mistake. Mistakes are left to Provision, which knows where in the config the handler is.
func (h *Handler) UnmarshalJSON(data []byte) error {
	if err := h.decodeOwn(data); err != nil {
		*h = Handler{}
		h.mistake = h.decodeMixed(data)
	}
	h.Staging.dropNulls()
	return nil
}

// decodeOwn decodes a handler that has no fields of reverse_proxy.
func (h *Handler) decodeOwn(data []byte) error {
	type proxyos Handler // the name that decoding errors show
	return caddy.StrictUnmarshalJSON(data, (*proxyos)(h))
}

// decodeMixed decodes a handler that has fields of reverse_proxy, or is wrong.
func (h *Handler) decodeMixed(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return plainly("", err)
	}
	own, others := make(object), make(object)
	for name, value := range fields {
		if fieldNamed(name, ownFields) != "" {
			own[name] = value
			continue
		}
		field := fieldNamed(name, reverseProxyFields)
		if field == "" {
			return errUnknownField(name)
		}
		if _, twice := others[field]; twice {
			return fmt.Errorf("field %q is given twice; keep one of them", field)
		}
		if string(value) != "null" {
			others[field] = value
		}
	}
	if len(others) > 0 {
		h.ReverseProxy = others
	}
	if err := h.decodeOwn(encode(own)); err != nil {
		return mistakeIn(own, err)
	}
	return nil
}

func errUnknownField(name string) error {
	if near := nearest(name, slices.Concat(ownFields, reverseProxyFields)); near != "" {
		return fmt.Errorf("unknown field %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("unknown field %q; proxyos takes the fields of reverse_proxy and %s", name, strings.Join(ownFields, ", "))
}

// fieldNamed returns the field that a name in JSON stands for, in either case, as everywhere
// in Caddy. It is empty if there is none.
func fieldNamed(name string, fields []string) string {
	i := slices.IndexFunc(fields, func(field string) bool { return strings.EqualFold(field, name) })
	if i < 0 {
		return ""
	}
	return fields[i]
}

// dropNulls treats null in JSON as missing, as the rest of the handler does.
func (g *Group) dropNulls() {
	if g == nil {
		return
	}
	g.DynamicUpstreamsRaw = dropNull(g.DynamicUpstreamsRaw)
	if g.LoadBalancing != nil {
		g.LoadBalancing.SelectionPolicyRaw = dropNull(g.LoadBalancing.SelectionPolicyRaw)
	}
}

// MarshalJSON encodes the handler's own fields and reverse_proxy's on one level.
func (h *Handler) MarshalJSON() ([]byte, error) {
	type proxyos Handler
	encoded, err := json.Marshal((*proxyos)(h))
	if err != nil || len(h.ReverseProxy) == 0 {
		return encoded, err
	}
	fields := make(map[string]json.RawMessage)
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, err
	}
	for name, value := range h.ReverseProxy {
		fields[name] = value
	}
	return json.Marshal(fields)
}

// The fields of the handler in JSON: its own, and those that it hands to reverse_proxy.
var (
	ownFields          = jsonFields(reflect.TypeFor[Handler]())
	reverseProxyFields = jsonFields(reflect.TypeFor[reverseproxy.Handler]())
)

func jsonFields(t reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
