"""Read delivery reports, complaints and read receipts."""
