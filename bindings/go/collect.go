package metaxy

import (
	"fmt"
	"reflect"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Collect reads all rows into structs and releases the reader. A field takes the column that its tag `arrow` names:
// texts, numbers, bools, time.Time, slices of lists, structs and maps of texts of structs. Null is the zero value, or
// nil in a pointer.
func Collect[T any](rows array.RecordReader) ([]T, error) {
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
	default:
		// Numbers and bools; a number is no text, whatever Go converts.
		typed, ok := values.(interface{ ValueAsAny(int) any })
		if !ok || into.Kind() == reflect.String {
			break
		}
		if value := reflect.ValueOf(typed.ValueAsAny(i)); value.CanConvert(into.Type()) {
			into.Set(value.Convert(into.Type()))
			return nil
		}
	}
	return invalid("a column of %s does not go into a %s", values.DataType(), into.Type())
}

func assignStruct(into reflect.Value, values *array.Struct, i int) error {
	fields := values.DataType().(*arrow.StructType)
	if into.Kind() == reflect.Map {
		into.Set(reflect.MakeMapWithSize(into.Type(), fields.NumFields()))
		for member := range fields.NumFields() {
			value := reflect.New(into.Type().Elem()).Elem()
			if err := assign(value, values.Field(member), i); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(fields.Field(member).Name), value)
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
		if err := assign(into.FieldByIndex(field.Index), values.Field(member), i); err != nil {
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
