"""What each part of the page shows: values for the macro of the same name in template.html."""
