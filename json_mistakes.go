package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// mistakeIn says in plain words what is wrong with the fields of a handler that cannot be decoded,
// and in which of them. err is what decoding them all at once says.
func mistakeIn(fields object, err error) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if one := new(Handler).decodeOwn(encode(object{name: fields[name]})); one != nil {
			return plainly(fieldNamed(name, ownFields), one)
		}
	}
	return plainly("", err)
}

// plainly is an error of decoding a field, without the names of Go.
func plainly(field string, err error) error {
	if mismatch, ok := err.(*json.UnmarshalTypeError); ok { //nolint:errorlint // inside another error, it has been said already
		path := strings.TrimPrefix(mismatch.Field, "upstream.")
		text := fmt.Sprintf("%s %s is not valid here; write %s", article(mismatch.Value), mismatch.Value, wanted(mismatch.Type))
		if path == "" { // it is all of what is decoded
			return errors.New(text)
		}
		return fmt.Errorf("%s: %s", path, text)
	}
	text := strings.ReplaceAll(err.Error(), "json: ", "")
	if field == "" || strings.HasPrefix(text, strings.TrimSuffix(field, "s")) { // upstreams name themselves
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s", field, text)
}

func article(noun string) string {
	if strings.HasPrefix(noun, "a") || strings.HasPrefix(noun, "o") { // array and object
		return "an"
	}
	return "a"
}

// wanted names what JSON can have where a value of a type is expected.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}
