package audit

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"postern/proxy"
)

// values is a row that was read as it lies in the table. It is a scanner, so that a record can be made of it after some
// of the values have changed.
type values []driver.Value

// Scan implements scanner for the kinds of fields that records have.
func (v values) Scan(dest ...any) error {
	if len(dest) != len(v) {
		return fmt.Errorf("%d values for %d fields", len(v), len(dest))
	}
	for i, to := range dest {
		if err := assign(to, v[i]); err != nil {
			return fmt.Errorf("value %d: %w", i+1, err)
		}
	}
	return nil
}

func assign(to any, v driver.Value) error {
	if s, ok := to.(sql.Scanner); ok {
		return s.Scan(v)
	}
	switch v := v.(type) {
	case int64:
		return assignNumber(to, v)
	case string:
		switch to := to.(type) {
		case *string:
			*to = v
			return nil
		case *proxy.Kind:
			*to = proxy.Kind(v)
			return nil
		}
	case []byte:
		if to, ok := to.(*[]byte); ok {
			*to = v
			return nil
		}
	case nil:
		if to, ok := to.(*[]byte); ok {
			*to = nil
			return nil
		}
	}
	return fmt.Errorf("%T does not fit %T", v, to)
}

func assignNumber(to any, v int64) error {
	switch to := to.(type) {
	case *int64:
		*to = v
	case *bool:
		*to = v != 0
	case *uint16:
		*to = uint16(v)
	case *time.Duration:
		*to = time.Duration(v)
	case *proxy.SessionID:
		*to = proxy.SessionID(v)
	default:
		return fmt.Errorf("a number does not fit %T", to)
	}
	return nil
}

// cells returns what a *sql.Rows scans into, to leave the values as the driver gives them.
func (v values) cells() []any {
	all := make([]any, len(v))
	for i := range v {
		all[i] = cell{&v[i]}
	}
	return all
}

type cell struct{ to *driver.Value }

// Scan implements sql.Scanner.
func (c cell) Scan(v any) error {
	if b, ok := v.([]byte); ok {
		v = bytes.Clone(b) // it is the driver's until the next row
	}
	*c.to = v
	return nil
}
