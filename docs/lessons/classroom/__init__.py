"""What the lessons share: questions that mark answers, data and trainings to practise on, and pictures."""
