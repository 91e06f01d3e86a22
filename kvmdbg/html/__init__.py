"""HTML of what results are made of: texts with their roles, tables, pictures. It knows no result and no session."""
