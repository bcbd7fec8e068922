"""`covey NOUN VERB`: a use of the client and nothing else. Each noun's module is imported when it is used."""
