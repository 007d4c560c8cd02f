package metaxy

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Collect reads all rows into structs and releases the reader. A field takes the column that its tag `arrow` names:
// texts, bytes, numbers, bools, time.Time, slices of lists, structs, and maps by text of structs. Null is the zero value,
// or nil in a pointer. A number goes where it is the same number: one that is too large for the field is an error, and so
// is a fraction for an integer; a float32 takes what is nearest.
func Collect[T any](rows array.RecordReader) ([]T, error) {
	if isNil(rows) {
		return nil, invalid("the reader is nil")
	}
	defer rows.Release()
	collected := []T{}
	for rows.Next() {
		batch := rows.RecordBatch()
		structs := array.RecordToStructArray(batch)
		for i := range int(batch.NumRows()) {
			var row T
			if err := assign(reflect.ValueOf(&row).Elem(), structs, i); err != nil {
				structs.Release()
				return nil, err
			}
			collected = append(collected, row)
		}
		structs.Release()
	}
	return collected, rows.Err()
}

func isNil(rows array.RecordReader) bool {
	value := reflect.ValueOf(rows)
	return !value.IsValid() || value.Kind() == reflect.Pointer && value.IsNil()
}

func collected[T any](rows *Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return Collect[T](rows)
}

// assign puts the value at i into a variable.
func assign(into reflect.Value, values arrow.Array, i int) error {
	if values.IsNull(i) {
		into.SetZero()
		return nil
	}
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		return assign(into.Elem(), values, i)
	}
	switch values := values.(type) {
	case *array.Struct:
		return assignStruct(into, values, i)
	case array.ListLike:
		return assignList(into, values, i)
	case *array.Timestamp:
		if into.Type() == reflect.TypeFor[time.Time]() {
			unit := values.DataType().(*arrow.TimestampType).Unit
			into.Set(reflect.ValueOf(values.Value(i).ToTime(unit)))
			return nil
		}
	case array.StringLike:
		// A copy: the bytes of the array go with it.
		if into.Kind() == reflect.String {
			into.SetString(string([]byte(values.Value(i))))
			return nil
		}
	case interface{ Value(int) []byte }:
		if into.Kind() == reflect.Slice && into.Type().Elem().Kind() == reflect.Uint8 {
			into.SetBytes(bytes.Clone(values.Value(i)))
			return nil
		}
	case interface{ ValueAsAny(int) any }:
		value := reflect.ValueOf(values.ValueAsAny(i))
		if into.Kind() == reflect.Bool && value.Kind() == reflect.Bool {
			into.SetBool(value.Bool())
			return nil
		}
		if isNumber(value) && isNumber(into) {
			if assignNumber(into, value) {
				return nil
			}
			return invalid("the number %v does not go into a %s", value, into.Type())
		}
	}
	return invalid("a column of %s does not go into a %s", values.DataType(), into.Type())
}

// isNumber does not hold for a date or a time of Arrow, which is a number only together with its unit.
func isNumber(value reflect.Value) bool {
	return (value.CanInt() || value.CanUint() || value.CanFloat()) && value.Type().PkgPath() != arrowPackage
}

var arrowPackage = reflect.TypeFor[arrow.Date32]().PkgPath()

// assignNumber puts a number into a variable that can hold it, and tells whether it can.
func assignNumber(into, value reflect.Value) bool {
	switch {
	case into.CanInt() && value.CanInt() && !into.OverflowInt(value.Int()):
		into.SetInt(value.Int())
	case into.CanInt() && value.CanUint() && value.Uint() <= math.MaxInt64 && !into.OverflowInt(int64(value.Uint())):
		into.SetInt(int64(value.Uint()))
	case into.CanUint() && value.CanUint() && !into.OverflowUint(value.Uint()):
		into.SetUint(value.Uint())
	case into.CanUint() && value.CanInt() && value.Int() >= 0 && !into.OverflowUint(uint64(value.Int())):
		into.SetUint(uint64(value.Int()))
	case into.CanFloat() && value.CanFloat() && !into.OverflowFloat(value.Float()):
		into.SetFloat(value.Float())
	case into.CanFloat() && (value.CanInt() || value.CanUint()):
		return assignExactly(into, value)
	default:
		return false
	}
	return true
}

// assignExactly puts an integer into a float that has no fewer digits.
func assignExactly(into, value reflect.Value) bool {
	exact := new(big.Float)
	if value.CanInt() {
		exact.SetInt64(value.Int())
	} else {
		exact.SetUint64(value.Uint())
	}
	nearest, _ := exact.Float64()
	if into.Kind() == reflect.Float32 {
		nearest = float64(float32(nearest))
	}
	if exact.Cmp(big.NewFloat(nearest)) != 0 {
		return false
	}
	into.SetFloat(nearest)
	return true
}

func assignStruct(into reflect.Value, values *array.Struct, i int) error {
	fields := values.DataType().(*arrow.StructType)
	if into.Kind() == reflect.Map {
		if into.Type().Key().Kind() != reflect.String {
			return invalid("a column of %s does not go into a %s; its keys are texts", fields, into.Type())
		}
		into.Set(reflect.MakeMapWithSize(into.Type(), fields.NumFields()))
		for member := range fields.NumFields() {
			value := reflect.New(into.Type().Elem()).Elem()
			if err := assign(value, values.Field(member), i); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(fields.Field(member).Name).Convert(into.Type().Key()), value)
		}
		return nil
	}
	if into.Kind() != reflect.Struct {
		return invalid("a column of %s does not go into a %s", fields, into.Type())
	}
	for _, field := range reflect.VisibleFields(into.Type()) {
		name, ok := field.Tag.Lookup("arrow")
		if !ok {
			continue
		}
		member, ok := fields.FieldIdx(name)
		if !ok {
			return invalid("there is no column %q for the field %s of %s", name, field.Name, into.Type())
		}
		variable, err := into.FieldByIndexErr(field.Index)
		if err != nil {
			return invalid("the field %s of %s is in a struct that is embedded by a pointer; embed it by value", field.Name, into.Type())
		}
		if !variable.CanSet() {
			return invalid("the field %s of %s cannot be set; give it a capital letter", field.Name, into.Type())
		}
		if err := assign(variable, values.Field(member), i); err != nil {
			return fmt.Errorf("the column %q: %w", name, err)
		}
	}
	return nil
}

func assignList(into reflect.Value, values array.ListLike, i int) error {
	if into.Kind() != reflect.Slice {
		return invalid("a column of %s does not go into a %s", values.DataType(), into.Type())
	}
	from, to := values.ValueOffsets(i)
	into.Set(reflect.MakeSlice(into.Type(), int(to-from), int(to-from)))
	for at := from; at < to; at++ {
		if err := assign(into.Index(int(at-from)), values.ListValues(), int(at)); err != nil {
			return err
		}
	}
	return nil
}
